"""Nothing a user can name gets out of the place it is written to."""

from typing import Any

import pytest

from zaffre.edge.errors import PlanError
from zaffre.edge.plan import Deployment, EdgePlan, Endpoint, check_plan, upstream_name


def endpoint(name: str = "ep1", **more: Any) -> Endpoint:
    blue = Deployment(name="blue", upstream=upstream_name(name, "blue"), sockets=("d/blue.sock",))
    values: dict[str, Any] = {"auth": "key", "keys": ("Key1",), "weights": (("blue", 100),), "deployments": (blue,)}
    return Endpoint(name=name, **{**values, **more})


def check(*endpoints: Endpoint, listen: tuple[str, ...] = ("127.0.0.1:8443", "[::1]:8443")) -> None:
    check_plan(EdgePlan(objects="/srv/objects", listen=listen, endpoints=endpoints))


def test_a_usual_plan_passes() -> None:
    check(endpoint(), endpoint("default"), endpoint("include"))


EVIL = [
    'a"b',
    "a{b",
    "a}b",
    "a;b",
    "a b",
    "a$b",
    "a\nb",
    "a\\b",
    "a'b",
    "a/b",
    "a#b",
    "",
    "é",
    "a\0b",
    "x" * 65,
    "ep1\n",
]


@pytest.mark.parametrize("name", EVIL)
def test_endpoint_names_cannot_break_out(name: str) -> None:
    with pytest.raises(PlanError):
        check(endpoint(name))


@pytest.mark.parametrize("name", EVIL)
def test_deployment_names_cannot_break_out(name: str) -> None:
    one = Deployment(name=name, upstream=upstream_name("ep1", name))
    with pytest.raises(PlanError):
        check(endpoint(deployments=(one,), weights=()))


@pytest.mark.parametrize("key", ['k"', "k{", "k;", "k k", "$k", "k\n", "k\\", "", "k" * 513, "ключ"])
def test_keys_cannot_break_out_and_are_not_shown(key: str) -> None:
    with pytest.raises(PlanError) as error:
        check(endpoint(keys=(key,)))
    assert key == "" or key not in str(error.value)


@pytest.mark.parametrize("path", ["/tmp/x.sock", "d/../app.sock", "d/a b", "d/a;b", "x.sock", "d/", 'd/a"'])
def test_sockets_lie_in_their_folder(path: str) -> None:
    one = Deployment(name="blue", upstream=upstream_name("ep1", "blue"), sockets=(path,))
    with pytest.raises(PlanError, match="socket"):
        check(endpoint(deployments=(one,)))


@pytest.mark.parametrize(
    "address", ["localhost:1", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:99999", "1.2.3.4:80;", "[::1]"]
)
def test_addresses_are_addresses(address: str) -> None:
    with pytest.raises(PlanError):
        check(listen=(address,))


def test_names_that_nginx_would_take_for_one_are_refused() -> None:
    with pytest.raises(PlanError, match="twice"):
        check(endpoint("ep"), endpoint("EP"))
    with pytest.raises(PlanError, match="differ only in the case"):
        check(endpoint(keys=("abcdef", "ABCDEF")))


def test_traffic_goes_to_known_deployments_only() -> None:
    with pytest.raises(PlanError, match="none of its deployments"):
        check(endpoint(weights=(("green", 100),)))


def test_another_endpoints_upstream_is_refused() -> None:
    one = Deployment(name="blue", upstream=upstream_name("other", "blue"), sockets=("d/blue.sock",))
    with pytest.raises(PlanError, match="upstream"):
        check(endpoint(deployments=(one,)))
