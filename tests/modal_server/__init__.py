"""A stand-in for Modal's server on the loopback interface: enough for every command, with state and faults.

It speaks gRPC through the stubs inside the installed modal package, keeps apps, versions, volumes, secrets and logs,
and runs what is deployed as processes of this machine. It proves that the real client accepts the rendered code and
what arrives on the wire; it does not prove that Modal would.
"""

from tests.modal_server.faults import Fault
from tests.modal_server.server import ModalServer
from tests.modal_server.world import World

__all__ = ["Fault", "ModalServer", "World"]
