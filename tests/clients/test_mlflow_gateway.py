"""MLflow's AI gateway by MLflow's own client: endpoints that it makes are asked, and a stand-in provider answers."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from mlflow import MlflowClient
from mlflow.entities import FallbackConfig, GatewayEndpointModelConfig, RoutingStrategy
from mlflow.entities.gateway_endpoint import FallbackStrategy, GatewayModelLinkageType
from mlflow.exceptions import MlflowException

from tests.support.mlflow_flow import run_script
from tests.support.mlflow_server import OWNER, MlflowServer
from tests.support.model_provider import USAGE, ModelProvider

KEY = "sk-secret-12345678"
HELLO = {"messages": [{"role": "user", "content": "hello"}]}
Model = tuple[str, str]  # provider, name


@pytest.fixture(scope="module")
def provider() -> Iterator[ModelProvider]:
    made = ModelProvider()
    yield made
    made.close()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, provider: ModelProvider) -> Iterator[MlflowServer]:
    made = MlflowServer(tmp_path_factory.mktemp("home"), gateway_hosts=(provider.host,))
    yield made
    made.close()


class Gateway:
    def __init__(self, house: MlflowServer, provider: ModelProvider) -> None:
        self.house = house
        self.provider = provider
        self.client = MlflowClient(house.uri)
        self.store: Any = self.client._tracking_client.store

    def model(self, provider: str, name: str, base: str | None = None) -> str:
        """The id of a model definition with a secret of its own."""
        unique = uuid.uuid4().hex
        auth = {"api_base": base or self.provider.base}
        secret = self.store.create_gateway_secret(f"key-{unique}", {"api_key": KEY}, provider, auth)
        made = self.store.create_gateway_model_definition(f"model-{unique}", secret.secret_id, provider, name)
        return str(made.model_definition_id)

    def endpoint(
        self, *primary: Model, fallback: tuple[Model, ...] = (), attempts: int | None = None, **more: Any
    ) -> Any:
        primaries = [
            GatewayEndpointModelConfig(self.model(*one), GatewayModelLinkageType.PRIMARY, 1.0) for one in primary
        ]
        others = [
            GatewayEndpointModelConfig(self.model(*one), GatewayModelLinkageType.FALLBACK, 1.0, turn)
            for turn, one in enumerate(fallback)
        ]
        if fallback:
            more["fallback_config"] = FallbackConfig(FallbackStrategy.SEQUENTIAL, attempts)
        return self.store.create_gateway_endpoint(f"e-{uuid.uuid4().hex}", [*primaries, *others], **more)

    def post(self, path: str, body: Any, **more: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.house.token}"}
        return requests.post(f"{self.house.uri}/gateway/{path}", json=body, headers=headers, timeout=30, **more)

    def invoke(self, endpoint: Any, body: Any = HELLO) -> requests.Response:
        return self.post(f"{endpoint.name}/mlflow/invocations", body)

    def traces(self, endpoint: Any) -> list[Any]:
        return list(self.client.search_traces(locations=[endpoint.experiment_id]))


@pytest.fixture
def gateway(house: MlflowServer, provider: ModelProvider, monkeypatch: pytest.MonkeyPatch) -> Gateway:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", house.token)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    provider.asked.clear()
    return Gateway(house, provider)


def said(response: requests.Response) -> str:
    assert response.status_code == 200, response.text
    return str(response.json()["choices"][0]["message"]["content"])


def events(response: requests.Response) -> list[Any]:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["x-accel-buffering"] == "no"
    lines = [line[6:] for line in response.text.split("\n\n") if line]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def test_an_endpoint_that_was_made_answers(gateway: Gateway) -> None:
    made = gateway.endpoint(("custom_openai", "gpt-x"))
    assert said(gateway.invoke(made, {**HELLO, "temperature": 0.5})) == "gpt-x says hello"
    [(path, headers, body)] = gateway.provider.asked
    assert path == "/v1/chat/completions" and headers["authorization"] == f"Bearer {KEY}"
    assert body == {**HELLO, "temperature": 0.5, "model": "gpt-x"}
    assert said(gateway.post("mlflow/v1/chat/completions", {**HELLO, "model": made.name})) == "gpt-x says hello"
    assert said(gateway.post("openai/v1/chat/completions", {**HELLO, "model": made.name})) == "gpt-x says hello"
    vector = gateway.invoke(made, {"input": "text"})
    assert vector.json()["data"][0]["embedding"] == [0.5, -1.0]
    assert gateway.post("openai/v1/embeddings", {"input": ["a"], "model": made.name}).status_code == 200
    assert gateway.post("openai/v1/responses", {"input": "a", "model": made.name}).json()["id"] == "resp-1"
    headers = {"Authorization": f"Bearer {gateway.house.token}"}
    models = requests.get(f"{gateway.house.uri}/gateway/mlflow/v1/models", headers=headers, timeout=30).json()
    assert made.name in [one["id"] for one in models["data"]]


def test_what_was_used_is_a_trace(gateway: Gateway) -> None:
    made = gateway.endpoint(("custom_openai", "gpt-x"))
    gateway.invoke(made)
    [trace] = gateway.traces(made)
    assert trace.info.state == "OK" and trace.info.token_usage["total_tokens"] == USAGE["total_tokens"]
    assert trace.info.trace_metadata["mlflow.gateway.endpointId"] == made.endpoint_id
    assert trace.info.trace_metadata["mlflow.auth.username"] == OWNER.name
    [span] = trace.data.spans
    assert span.name == f"gateway/{made.name}" and span.inputs == HELLO
    assert span.outputs["choices"][0]["message"]["content"] == "gpt-x says hello"
    untracked = gateway.endpoint(("custom_openai", "gpt-x"), usage_tracking=False)
    assert said(gateway.invoke(untracked)) and untracked.experiment_id is None


def test_an_answer_stands_where_no_trace_can_be_kept(gateway: Gateway) -> None:
    deep: Any = []
    for _ in range(400):
        deep = [deep]
    made = gateway.endpoint(("custom_openai", "gpt-x"))
    assert said(gateway.invoke(made, {**HELLO, "metadata": deep})) == "gpt-x says hello"
    gateway.client.delete_experiment(made.experiment_id)
    assert said(gateway.invoke(made)) == "gpt-x says hello"
    assert events(gateway.invoke(made, {**HELLO, "stream": True}))[-1] == "[DONE]"


def test_streams_come_as_events(gateway: Gateway) -> None:
    made = gateway.endpoint(("vllm", "gpt-x"))
    found = events(gateway.invoke(made, {**HELLO, "stream": True}))
    assert found[-1] == "[DONE]"
    assert "".join(one["choices"][0]["delta"].get("content", "") for one in found[:-1]) == "hello"
    [trace] = gateway.traces(made)
    assert trace.info.token_usage["total_tokens"] == USAGE["total_tokens"], "it was asked for, and kept from the caller"
    assert trace.data.spans[0].outputs["choices"][0]["message"]["content"] == "hello"
    asked = {**HELLO, "stream": True, "stream_options": {"include_usage": True}}
    assert events(gateway.invoke(made, asked))[-2]["usage"] == USAGE


def test_a_stream_that_ends_early_says_so(gateway: Gateway) -> None:
    made = gateway.endpoint(("custom_openai", "ends-early"))
    first, last = events(gateway.invoke(made, {**HELLO, "stream": True}))
    assert first["choices"][0]["delta"]["content"] == "hel" and "before it was whole" in last["error"]["message"]
    [trace] = gateway.traces(made)
    assert trace.info.state == "ERROR"


def test_models_are_fallen_back_to_in_their_order(gateway: Gateway) -> None:
    fallback = (("custom_openai", "hangs-up"), ("custom_openai", "fails-429"), ("custom_openai", "third"))
    made = gateway.endpoint(("custom_openai", "fails-500"), fallback=fallback)
    assert said(gateway.invoke(made)) == "third says hello"
    assert [body["model"] for _, _, body in gateway.provider.asked] == ["fails-500", "hangs-up", "fails-429", "third"]
    assert events(gateway.invoke(made, {**HELLO, "stream": True}))[0]["model"] == "third"
    short = gateway.endpoint(("custom_openai", "fails-500"), fallback=fallback, attempts=2)
    assert gateway.invoke(short).status_code == 429
    [trace] = gateway.traces(short)
    assert trace.info.state == "ERROR"


def test_a_failure_is_told_without_the_key(gateway: Gateway) -> None:
    for status, told in ((500, 502), (401, 502), (400, 400), (404, 404)):
        made = gateway.endpoint(("custom_openai", f"fails-{status}"))
        for more in ({}, {"stream": True}):
            answer = gateway.invoke(made, {**HELLO, **more})
            assert answer.status_code == told and f"answered {status}" in answer.json()["message"]
            assert KEY not in answer.text and "no, Bearer ***" in answer.text
        assert KEY not in str([trace.to_dict() for trace in gateway.traces(made)])


def test_traffic_is_split_by_weights(gateway: Gateway) -> None:
    strategy = RoutingStrategy.REQUEST_BASED_TRAFFIC_SPLIT
    made = gateway.endpoint(
        ("custom_openai", "a"), ("custom_openai", "b"), routing_strategy=strategy, usage_tracking=False
    )
    answers = {said(gateway.invoke(made)) for _ in range(60)}  # both, but for one time in 10^18
    assert answers == {"a says hello", "b says hello"}
    plain = gateway.endpoint(("custom_openai", "a"), ("custom_openai", "b"), usage_tracking=False)
    assert {said(gateway.invoke(plain)) for _ in range(10)} == {"a says hello"}


def test_anthropic_answers_as_openai_does(gateway: Gateway) -> None:
    made = gateway.endpoint(("anthropic", "claude-x"))
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
    talk = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "hello"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "t0", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "t0", "content": "rain"},
    ]
    answer = gateway.invoke(made, {"messages": talk, "tools": [tool], "stop": "."}).json()
    [choice] = answer["choices"]
    assert choice["message"]["content"] == "bonjour" and choice["finish_reason"] == "tool_calls"
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "weather", "arguments": '{"city": "Brno"}'}
    assert answer["usage"]["prompt_tokens"] == 6 and answer["usage"]["total_tokens"] == 8
    [(path, headers, body)] = gateway.provider.asked
    assert path == "/v1/messages" and headers["x-api-key"] == KEY and headers["anthropic-version"]
    assert body["system"] == "be brief" and body["stop_sequences"] == ["."] and body["max_tokens"] > 0
    assert [one["role"] for one in body["messages"]] == ["user", "assistant", "user"]
    assert body["messages"][1]["content"] == [
        {"type": "tool_use", "id": "t0", "name": "weather", "input": {"city": "Oslo"}}
    ]
    found = events(gateway.invoke(made, {**HELLO, "stream": True}))
    assert found[-1] == "[DONE]" and found[-2]["choices"][0]["finish_reason"] == "stop"
    assert "".join(one["choices"][0]["delta"].get("content") or "" for one in found[:-1]) == "bonjour"
    native = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 5, "model": made.name}
    assert gateway.post("anthropic/v1/messages", native).json()["content"][0]["text"] == "bonjour"
    assert "event: message_stop" in gateway.post("anthropic/v1/messages", {**native, "stream": True}).text
    assert [trace.info.token_usage["total_tokens"] for trace in gateway.traces(made)] == [7, 8, 7, 8]


def test_what_a_provider_has_no_word_for_is_refused_by_name(gateway: Gateway) -> None:
    made = gateway.endpoint(("anthropic", "claude-x"))
    refused = gateway.invoke(made, {"input": "text"})
    assert refused.status_code == 501 and "anthropic" in refused.json()["message"]
    assert gateway.invoke(made, {**HELLO, "n": 2}).status_code == 400
    ours = gateway.endpoint(("custom_openai", "gpt-x"))
    assert gateway.post("anthropic/v1/messages", {**HELLO, "model": ours.name}).status_code == 501
    with pytest.raises(MlflowException, match="bedrock"):
        gateway.model("bedrock", "titan")


@pytest.mark.parametrize(
    "body",
    [{}, {"messages": []}, {"messages": "hi"}, {"messages": ["hi"]}, {**HELLO, "stream": "yes"}, {"input": ""}, [1]],
)
def test_bodies_that_are_none_ask_nobody(gateway: Gateway, body: Any) -> None:
    made = gateway.endpoint(("custom_openai", "gpt-x"))
    assert gateway.invoke(made, body).status_code == 400
    assert gateway.provider.asked == []


def test_an_endpoint_that_is_not_there_is_404_and_one_without_a_secret_400(gateway: Gateway) -> None:
    assert gateway.post("nobody/mlflow/invocations", HELLO).status_code == 404
    assert gateway.post("mlflow/v1/chat/completions", {**HELLO, "model": "nobody"}).status_code == 404
    assert gateway.post("mlflow/v1/chat/completions", HELLO).status_code == 400
    made = gateway.endpoint(("custom_openai", "gpt-x"))
    gateway.store.delete_gateway_secret(made.model_mappings[0].model_definition.secret_id)
    answer = gateway.invoke(made)
    assert answer.status_code == 400 and "secret" in answer.json()["message"]
    assert gateway.provider.asked == []


@pytest.mark.parametrize(
    "base",
    [
        "http://127.0.0.1:1/v1",
        "https://localhost/v1",
        "http://169.254.169.254/latest",
        "https://example.com/v1",
        "http://api.openai.com/v1",
        "https://api.openai.com@127.0.0.1/v1",
        "https://api.openai.com/v1?x=/",
        "file:///etc/passwd",
        "ftp://api.openai.com",
    ],
)
def test_only_providers_and_hosts_that_were_named_are_asked(gateway: Gateway, base: str) -> None:
    with pytest.raises(MlflowException, match=r"may not ask|no address"):
        gateway.model("custom_openai", "gpt-x", base)


def test_a_judge_asks_an_endpoint(house: MlflowServer, provider: ModelProvider, newest_mlflow: Path) -> None:
    """MLflow sends its judges with a user and a password, never with its token."""
    told = {"MLFLOW_TRACKING_URI": house.uri, "MLFLOW_TRACKING_USERNAME": "token"}
    told |= {"MLFLOW_TRACKING_PASSWORD": house.token, "PATH": "/usr/bin:/bin", "HOME": str(house.settings.home)}
    script = Path(__file__).parent / "scripts" / "mlflow_judge.py"
    found = run_script(newest_mlflow, script, told, provider.base)
    assert (found["value"], found["rationale"], found["again"]) == ("yes", "it is kind", "gateway:/judging")
    assert found["bound"] == ["kind"] and found["traces"] == ["OK"]


@pytest.mark.parametrize("told", ["Basic !", "Basic dG9rZW46", "Basic dG9rZW46bm9uZQ==", "Basic ", "Digest x"])
def test_a_password_that_is_no_token_is_refused(house: MlflowServer, told: str) -> None:
    where = f"{house.uri}/gateway/mlflow/v1/models"
    assert requests.get(where, headers={"Authorization": told}, timeout=30).status_code == 401
