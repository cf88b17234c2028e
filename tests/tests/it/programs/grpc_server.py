"""A gRPC server without generated code: /test.Echo/Who answers its name, its metadata and what it was sent."""

import sys
from concurrent import futures

import grpc


def who(request, context):
    route = dict(context.invocation_metadata()).get("x-user", "")
    return f"{sys.argv[2]} {route} ".encode() + request


handlers = {"Who": grpc.unary_unary_rpc_method_handler(who)}
server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.Echo", handlers)])
if server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}") == 0:
    sys.exit("the port is taken")
server.start()
server.wait_for_termination()
