"""The part of nginx's files that follows the endpoints: keys, splits, routes, upstreams, and a location per limit.

Callers have the plan checked first (`check_plan`); these functions only write it down.
"""

from collections.abc import Iterator

from zaffre.edge.plan import Deployment, EdgePlan, Endpoint

HEADER = "# Written by Zaffre from its store; changes made here are lost.\n"

NO_TRAFFIC = "-"
"""What an endpoint maps to when no deployment has a share of its requests: 404. No upstream has this name."""

NOT_READY = "!"
"""What a deployment maps to that cannot answer now: 503."""


def render_keys(plan: EdgePlan) -> str:
    """The body of the keys' map: `"<endpoint> <key>" "<key>"`. The one place where keys lie in clear."""
    lines = [
        f'"{endpoint.name} {key}" "{key}";'
        for endpoint in plan.endpoints
        if endpoint.auth == "key"
        for key in dict.fromkeys(endpoint.keys)
    ]
    return HEADER + "".join(f"{line}\n" for line in lines)


def render_endpoints(plan: EdgePlan) -> str:
    """Upstreams, splits, and the maps from endpoint and asked deployment to an upstream, its name and its class."""
    modes = [f"{_word(endpoint)} {endpoint.auth};" for endpoint in plan.endpoints]
    marks = [f"{_word(one)} {one.mark};" for one in plan.endpoints if one.auth == "token"]
    routes = [line for endpoint in plan.endpoints for line in _routes(endpoint)]
    ready = [d for endpoint in plan.endpoints for d in endpoint.deployments if d.sockets]
    classes = [
        f"{d.upstream} {_class_of(endpoint, d)};"
        for endpoint in plan.endpoints
        for d in endpoint.deployments
        if d.sockets
    ]
    shadows = [f"{_word(one)} {one.name}/{one.mirror[0]};" for one in plan.endpoints if one.mirror]
    names = [f"{d.upstream} {d.name};" for d in ready]
    blocks = [
        *(_upstream(deployment, first=number == 0) for number, deployment in enumerate(ready)),
        *(_split(endpoint) for endpoint in plan.endpoints if len(_targets(endpoint)) > 1),
        *(_mirrored(endpoint, endpoint.mirror[1]) for endpoint in plan.endpoints if endpoint.mirror),
        _map("$zf_ep", "$zf_mode", modes),
        # No header: by weight. A header: that deployment. Neither: 404.
        _map('"$zf_ep/$http_azureml_model_deployment"', "$zf_up", routes),
        _map("$zf_up", "$zf_class", classes),
        _map("$zf_up", "$zf_name", names),
        _map("$zf_ep", "$zf_shadow", shadows),
        _map("$zf_ep", "$zf_mark", marks),
    ]
    return HEADER + "\n".join(blocks)


def render_classes(plan: EdgePlan) -> str:
    """One location for each (timeout, limit) in use, times key and token, plain and copied: nginx takes literals only."""
    ready = [d for endpoint in plan.endpoints for d in endpoint.deployments if d.sockets]
    classes = {class_name(d): d for d in sorted(ready, key=class_name)}
    copied = (False, True) if any(endpoint.mirror for endpoint in plan.endpoints) else (False,)
    return HEADER + "".join(
        _class(name, d, token, mirror) for name, d in classes.items() for token in (False, True) for mirror in copied
    )


def class_name(deployment: Deployment) -> str:
    """The name of the location for this timeout and limit, as in `t60000c3`."""
    return f"t{deployment.timeout_ms}c{deployment.max_held}"


def _class_of(endpoint: Endpoint, deployment: Deployment) -> str:
    """The class of a deployment; a variable's part where some of what it answers is copied to a shadow."""
    if endpoint.mirror is None or endpoint.mirror[0] == deployment.name:
        return class_name(deployment)
    return f'"{class_name(deployment)}${{{_mirror_variable(endpoint)}}}"'


def _class(name: str, deployment: Deployment, token: bool, mirror: bool) -> str:
    parts = [
        "internal;",
        f"proxy_read_timeout {deployment.timeout_ms}ms;",
        f"limit_conn zf_dep {deployment.max_held};" if deployment.max_held else "",
        "auth_request /_zf/authz;" if token else "",
        "mirror /_zf/mirror;" if mirror else "",
        "include score.conf;",
        "proxy_pass http://$zf_up$zf_rest$is_args$args;",
    ]
    # $zf_class brings the m, $zf_j the j behind it
    return (
        f"location = /_zf/c/{name}{'m' if mirror else ''}{'j' if token else ''} {{ {' '.join(filter(None, parts))} }}\n"
    )


def _upstream(deployment: Deployment, *, first: bool) -> str:
    # Several instances: a dead one is left out for a while. One alone always gets the request; max_fails would do
    # nothing.
    check = " max_fails=1 fail_timeout=5s" if len(deployment.sockets) > 1 else ""
    servers = " ".join(f"server unix:{path}{check};" for path in deployment.sockets)
    zone = "zone zf_up 4m;" if first else "zone zf_up;"
    # Short keep-alive: a server replaced by renaming its socket gets no request after its successor for longer than
    # this.
    keep = "keepalive 64; keepalive_time 3s; keepalive_timeout 2s;"
    return f"upstream {deployment.upstream} {{ {zone} {servers} {keep} }}\n"


def _split(endpoint: Endpoint) -> str:
    targets = _targets(endpoint)
    total = sum(share for _, share in targets)
    lines = [f"{100 * share / total:.2f}% {target};" for target, share in targets[:-1]]
    lines.append(f"* {targets[-1][0]};")  # an explicit 100 % could come out empty before 1.31.2
    return f'split_clients "$request_id" {_split_variable(endpoint)} {{ {" ".join(lines)} }}\n'


def _mirrored(endpoint: Endpoint, share: int) -> str:
    return f'split_clients "mirror $request_id" ${_mirror_variable(endpoint)} {{ {share:.2f}% m; * ""; }}\n'


def _routes(endpoint: Endpoint) -> Iterator[str]:
    targets = _targets(endpoint)
    alone = targets[0][0] if targets else NO_TRAFFIC
    yield f'"{endpoint.name}/" {_split_variable(endpoint) if len(targets) > 1 else alone};'
    for deployment in endpoint.deployments:
        yield f'"{endpoint.name}/{deployment.name}" {_target(deployment)};'


def _targets(endpoint: Endpoint) -> list[tuple[str, int]]:
    """(upstream, share) of the deployments that have a share, the largest last: there rounding does least."""
    targets = {deployment.name: _target(deployment) for deployment in endpoint.deployments}
    found = [(targets[name], share) for name, share in endpoint.weights if share > 0]
    return sorted(found, key=lambda pair: (pair[1], pair[0]))


def _target(deployment: Deployment) -> str:
    return deployment.upstream if deployment.sockets else NOT_READY


def _split_variable(endpoint: Endpoint) -> str:
    return "$zf_split_" + endpoint.name.replace("-", "_")


def _mirror_variable(endpoint: Endpoint) -> str:
    return "zf_mirror_" + endpoint.name.replace("-", "_")


def _word(endpoint: Endpoint) -> str:
    """The backslash keeps an endpoint named `default`, `include` or `volatile` from being read as the map's own word."""
    return rf"\\{endpoint.name}"


def _map(source: str, target: str, lines: list[str]) -> str:
    body = "".join(f"  {line}\n" for line in lines)
    return f'map {source} {target} {{\n  default "";\n{body}}}\n'
