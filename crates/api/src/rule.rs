//! Rules between the fields of one object. Each is said once: the parser asks it of what it reads (`parse/rules`), and a definition has it
//! as CEL (`cel`).

/// What is said of a field that is missing.
pub(crate) const REQUIRED: &str = "is required";

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// The field that a finding is about; empty for the object itself. `ports[]` is an item of a list, `labels{}` a value of a map: the
    /// parser knows which one.
    pub(crate) field: &'static str,
    /// What is refused.
    pub(crate) refused: Test,
    /// What is wrong; nothing where the field is missing.
    pub(crate) message: Option<&'static str>,
    /// What to do.
    pub(crate) hint: &'static str,
    /// The message is about a value, which the parser puts in front. A server shows it anyway.
    pub(crate) quotes: bool,
    /// Too much work where lists are around it: a server refuses a definition whose rules may take too long.
    pub(crate) costly: bool,
}

/// What a rule asks. A path names a field, `tls.mode` one of a nested object; the empty path is an item that is a text.
///
/// What holds of a value of the wrong type does not matter much: its type is reported, and a server looks no further.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Test {
    /// At least one of the fields is there.
    AnySet(&'static [&'static str]),
    /// At least two of the fields are there.
    TwoSet(&'static [&'static str]),
    /// The list, map or text is there, and empty.
    Empty(&'static str),
    /// The list, map or text is there, and not empty.
    Filled(&'static str),
    /// The list has more than so many items.
    More(&'static str, usize),
    True(&'static str),
    /// A number above 0.
    Positive(&'static str),
    /// One of some numbers.
    Number(&'static str, &'static [i64]),
    /// One of some texts.
    Is(&'static str, &'static [&'static str]),
    /// One of some texts in upper case, if it is made upper case.
    IsUpper(&'static str, &'static [&'static str]),
    Starts(&'static str, &'static str),
    Contains(&'static str, &'static str),
    /// A text that is not of this format.
    Unlike(&'static str, Format),
    /// An item of the list.
    Some(&'static str, &'static Self),
    /// Two items of the list.
    Two(&'static str, &'static Self),
    /// Two items of the list with the same value at the first path, and the same, or none, at the others.
    Twice(&'static str, &'static [&'static str]),
    /// A key of the map is no port.
    NoPort(&'static str),
    /// The labels have an empty key, or a wildcard.
    Wild(&'static str),
    Not(&'static Self),
    All(&'static [Self]),
    Any(&'static [Self]),
}

/// Formats of texts. The parser knows them exactly; CEL before Kubernetes 1.31 has no addresses, so its patterns take some more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// A label of a DNS name (RFC 1123).
    DnsLabel,
    /// What may be a host name; where a wildcard may stand is a matter of its own.
    Host,
    /// An IP address.
    Ip,
    /// An IP address or a CIDR prefix.
    Prefix,
}

/// A rule that a field is there.
pub(crate) const fn missing(field: &'static str, refused: Test, hint: &'static str) -> Rule {
    Rule {
        field,
        refused,
        message: None,
        hint,
        quotes: false,
        costly: false,
    }
}

/// A rule about what is there.
pub(crate) const fn invalid(field: &'static str, refused: Test, message: &'static str, hint: &'static str) -> Rule {
    Rule {
        field,
        refused,
        message: Some(message),
        hint,
        quotes: false,
        costly: false,
    }
}

// === impl Rule ===

impl Rule {
    /// The same rule, whose message is about a text.
    pub(crate) const fn quoting(self) -> Self {
        Self { quotes: true, ..self }
    }

    /// The same rule, which a definition has only where no list is around the object.
    pub(crate) const fn costly(self) -> Self {
        Self { costly: true, ..self }
    }

    /// The field up to a list or map, and what follows an item of it.
    pub(crate) fn parts(&self) -> (&'static str, Option<&'static str>) {
        match self.field.split_once("[]").or_else(|| self.field.split_once("{}")) {
            Some((field, inner)) => (field, Some(inner)),
            None => (self.field, None),
        }
    }

    /// The list whose items it is about one by one, and what is refused of one.
    pub(crate) fn each(&self) -> Option<(&'static str, &'static Test)> {
        match (self.parts(), &self.refused) {
            ((field, Some(_)), Test::Some(list, refused)) if field == *list => Some((list, refused)),
            _ => None,
        }
    }
}
