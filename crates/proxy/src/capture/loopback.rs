//! The address `::6` on the loopback interface: unlike 127.0.0.6 it is nobody's unless somebody adds it.

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};

/// Index of the loopback interface in every network namespace.
const LOOPBACK_INDEX: u32 = 1;

// Numbers of rtnetlink(7) and netlink(7).
const RTM_NEWADDR: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_CREATE: u16 = 0x400;
const AF_INET6: u8 = 10;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_F_NODAD: u8 = 2;
const SCOPE_HOST: u8 = 254;

/// Adds `::6/128` to the loopback interface; fine where it is there already.
pub(super) fn add_source_v6() -> Result<(), Errno> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    send(&socket, &request(), SendFlags::empty())?;
    let mut answer = [0; 1024];
    let (read, _) = recv(&socket, &mut answer, RecvFlags::empty())?;
    // An acknowledgement is an error message with the number zero behind its header of 16 bytes.
    let number = answer[..read].get(16..20).and_then(|bytes| bytes.try_into().ok());
    match number.map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(error) => match Errno::from_raw_os_error(-error) {
            Errno::EXIST => Ok(()),
            other => Err(other),
        },
        None => Err(Errno::BADMSG),
    }
}

/// The message: header, `ifaddrmsg`, and the address twice (as own and as peer's).
fn request() -> Vec<u8> {
    let mut address = [0; 16];
    address[15] = 6;
    let mut body = vec![AF_INET6, 128, IFA_F_NODAD, SCOPE_HOST];
    body.extend(LOOPBACK_INDEX.to_ne_bytes());
    for kind in [IFA_LOCAL, IFA_ADDRESS] {
        body.extend(20_u16.to_ne_bytes());
        body.extend(kind.to_ne_bytes());
        body.extend(address);
    }
    let length = u32::try_from(16 + body.len()).unwrap_or(u32::MAX);
    let mut message = Vec::with_capacity(16 + body.len());
    message.extend(length.to_ne_bytes());
    message.extend(RTM_NEWADDR.to_ne_bytes());
    message.extend((NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE).to_ne_bytes());
    // Sequence number and sender, neither of which anybody looks at here.
    message.extend([0; 8]);
    message.extend(body);
    message
}
