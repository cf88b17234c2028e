"""A gRPC client that answers lines of stdin: `COUNT [USER]` makes so many calls and prints one line of JSON with the
answers' counts by server, and errors by status. GRPC_XDS_BOOTSTRAP names the control plane."""

import collections
import json
import sys

import grpc

target, secure = sys.argv[1], sys.argv[2] == "mtls"
if secure:
    channel = grpc.secure_channel(target, grpc.xds_channel_credentials(grpc.insecure_channel_credentials()))
else:
    channel = grpc.insecure_channel(target)
call = channel.unary_unary("/test.Echo/Who")
for line in sys.stdin:
    count, _, user = line.strip().partition(" ")
    seen = collections.Counter()
    for _ in range(int(count)):
        try:
            metadata = [("x-user", user)] if user else None
            answer = call(b"x", timeout=10, metadata=metadata, wait_for_ready=True)
            seen[answer.decode().split(" ")[0]] += 1
        except grpc.RpcError as error:
            seen[f"{error.code().name}: {error.details()}"] += 1
    print(json.dumps(seen), flush=True)
