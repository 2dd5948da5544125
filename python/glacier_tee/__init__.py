"""Confidential computing from Python: attest an enclave, give it model and data, get results with a proof.

    import glacier_tee as glacier

    session = glacier.connect("http://127.0.0.1:8480", "policy.toml")
    result = session.infer("model.onnx", frame)
    print(result.labels, result.proof)

Nothing private leaves this machine before the enclave was accepted by the policy. What is *simulated* is software that
plays hardware and protects nothing: a policy accepts it only if it names the root of that simulation, and every object
that came from it says so.
"""

from ._native import Key, Keystore, Policy, __version__, open_sealed, seal
from .checks import Check
from .errors import (
    Cancelled,
    DataError,
    GlacierError,
    KeyStoreError,
    NodeUnreachable,
    NotAccepted,
    PolicyError,
    ProofInvalid,
    Refused,
    SealError,
)
from .local import Node, local_node
from .results import Epoch, Inference, Point, Progress, Proof, Refinement
from .session import AsyncSession, Enclave, Model, Port, Session, aconnect, connect
from .verify import Evidence, verify_evidence, verify_proof

__all__ = [
    "AsyncSession",
    "Cancelled",
    "Check",
    "DataError",
    "Enclave",
    "Epoch",
    "Evidence",
    "GlacierError",
    "Inference",
    "Key",
    "KeyStoreError",
    "Keystore",
    "Model",
    "Node",
    "NodeUnreachable",
    "NotAccepted",
    "Point",
    "Policy",
    "PolicyError",
    "Port",
    "Progress",
    "Proof",
    "ProofInvalid",
    "Refinement",
    "Refused",
    "SealError",
    "Session",
    "__version__",
    "aconnect",
    "connect",
    "local_node",
    "open_sealed",
    "seal",
    "verify_evidence",
    "verify_proof",
]
