"""`pinproxy verify`: every address, every certificate, the proxy's own judgement, and the exit code that says it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from pinproxy.authority import Authority
from pinproxy.cli.exit_code import ExitCode
from pinproxy.cli.main import invoke
from pinproxy.cli.survey_json import describe_surveys
from pinproxy.cli.verify import exit_code_of
from pinproxy.limits import Limits
from pinproxy.net.dial import Dialler
from pinproxy.net.own_addresses import OwnAddresses
from pinproxy.net.survey import Outcome, Survey, survey
from pinproxy.net.upstream import UpstreamOpener
from pinproxy.policy.rule import ClientCertificate, HostRule
from tests.harness.blocking_origin import blocking_origin
from tests.harness.command_line import BACKUP, REPOSITORY
from tests.harness.origin import running_origin
from tests.harness.pki import Issued, make_client, make_leaf, make_root, server_context
from tests.harness.running import HOST, host_rule
from tests.harness.upstream_proxies import corporate_proxy

ROOT = make_root()
LEAF = make_leaf(ROOT, HOST)
OTHER_LEAF = make_leaf(ROOT, HOST)


@lru_cache
def rsa_leaf() -> Issued:
    """A second certificate of the same server, with an RSA key; made once."""
    return make_leaf(ROOT, HOST, key=rsa.generate_private_key(65537, 2048))


def two_certificates(directory: Path) -> ssl.SSLContext:
    """Make the context of a server that has an ECDSA and an RSA certificate."""
    context = server_context(LEAF)
    file = directory / "rsa.pem"
    file.write_bytes(rsa_leaf().key_pem + rsa_leaf().pem)
    context.load_cert_chain(file)
    return context


def config(directory: Path, port: int | None, pins: Sequence[object], keys: str = "") -> str:
    """Write a configuration of one host, whose origin listens on a loopback port; None: where its name leads."""
    (directory / "root.pem").write_bytes(ROOT.pem)
    file = directory / "pinproxy.yaml"
    file.write_text(
        f"version: 1\nhosts:\n  - host: {HOST}\n    trust: {{ca_file: root.pem}}\n    pins: [{', '.join(map(str, pins))}]\n"
        + (f"    upstream: {{address: 127.0.0.1, port: {port}}}\n" if port else "")
        + keys,
        "utf-8",
    )
    return str(file)


def verified(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    """Run `verify --json`; its exit code and its answer."""
    code = invoke(["verify", "--json", *arguments])
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert answer["exit_code"] == code
    return code, answer


def shown(answer: dict[str, Any]) -> list[tuple[str | None, ...]]:
    """Pick what was asked and what came of it, handshake by handshake, of the only host."""
    (host,) = answer["hosts"]
    return [(item["offered_tls"], item["offered_key"], item["outcome"], item["key"]) for item in host["handshakes"]]


def test_both_certificates_of_a_server_are_seen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An application with the other cipher list would meet the one that is not pinned: exit 3, and which one it is."""
    with blocking_origin(two_certificates(tmp_path)) as origin:
        code, answer = verified(capsys, "-c", config(tmp_path, origin.port, [LEAF.pin, BACKUP]))
        assert code == ExitCode.MISMATCH
        assert shown(answer) == [
            ("1.2", "RSA", "mismatch", "RSA 2048"),
            ("1.2", "ECDSA", "ok", "ECDSA secp256r1"),
            ("1.3", None, "ok", "ECDSA secp256r1"),
        ]
        rsa_seen, ecdsa_seen, _ = answer["hosts"][0]["handshakes"]
        assert (rsa_seen["verdict"], rsa_seen["decision"], rsa_seen["code"]) == ("no_match", "deny", "pin_mismatch")
        assert str(rsa_leaf().pin) in rsa_seen["detail"]
        assert (ecdsa_seen["verdict"], ecdsa_seen["matched_pin"]) == ("matched", str(LEAF.pin))
        both, _ = verified(capsys, "-c", config(tmp_path, origin.port, [LEAF.pin, rsa_leaf().pin]))
    assert both == ExitCode.OK


def keys_of(value: object) -> set[str]:
    """List the keys of a JSON value, at any depth."""
    if isinstance(value, dict):
        return set(value).union(*map(keys_of, value.values()))
    return set().union(*map(keys_of, value)) if isinstance(value, list) else set()


def test_every_key_of_the_json_is_documented(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is a public interface, so the page has all of it."""
    page = (REPOSITORY / "docs/commands.md").read_text("utf-8")
    with blocking_origin(server_context(LEAF)) as origin:
        _, answer = verified(capsys, "-c", config(tmp_path, origin.port, [LEAF.pin, BACKUP]))
    explained_elsewhere = {"version", "tls", "key", "reason"}
    assert [key for key in keys_of(answer) - explained_elsewhere if f"{key}`" not in page and f"{key}[]`" not in page] == []


def test_a_version_or_a_kind_of_key_that_a_server_does_not_have_is_no_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It finished another handshake, so that it is there; what it does not offer is said."""
    context = server_context(LEAF)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with blocking_origin(context) as origin:
        code, answer = verified(capsys, "-c", config(tmp_path, origin.port, [LEAF.pin, BACKUP]))
    assert code == ExitCode.OK
    assert [item[2] for item in shown(answer)] == ["not_offered", "ok", "not_offered"]
    assert answer["hosts"][0]["backup_pins"] == [BACKUP]


def test_what_the_rule_does_not_speak_is_not_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`min_tls` bounds the survey as it bounds traffic; the twin is the server with TLS 1.2."""
    with blocking_origin(server_context(LEAF)) as origin:
        file = config(tmp_path, origin.port, [LEAF.pin, BACKUP], '    min_tls: "1.3"\n')
        code, answer = verified(capsys, "-c", file)
    assert (code, [item[:3] for item in shown(answer)]) == (ExitCode.OK, [("1.3", None, "ok")])


def test_a_server_without_tls12_may_have_a_certificate_that_nobody_saw(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """TLS 1.3 shows the one the server prefers; what was not tried is said, and its twin with TLS 1.2 says nothing of it."""
    context = server_context(LEAF)
    with blocking_origin(context) as origin:
        file = config(tmp_path, origin.port, [LEAF.pin, BACKUP])
        assert invoke(["verify", "-c", file]) == ExitCode.OK
        assert "may have a second certificate" not in capsys.readouterr().err
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        assert invoke(["verify", "-c", file]) == ExitCode.OK
        assert f"{HOST}:443 may have a second certificate" in capsys.readouterr().err
        _, answer = verified(capsys, "-c", file)
    assert [(item["tls"], item["key"]) for item in answer["not_tried"]] == [("1.3", "RSA"), ("1.3", "ECDSA")]


def test_a_mismatch_in_report_only_is_one_all_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before a host is enforced, this is where it shows."""
    with blocking_origin(server_context(OTHER_LEAF)) as origin:
        file = config(tmp_path, origin.port, [LEAF.pin, BACKUP], "    mode: report-only\n")
        code, answer = verified(capsys, "-c", file)
    assert code == ExitCode.MISMATCH
    assert answer["hosts"][0]["handshakes"][1]["decision"] == "allow_and_report"
    assert answer["hosts"][0]["backup_pin_missing"] is None


def test_a_chain_that_does_not_validate_is_a_mismatch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The pinned key itself, under a root that this host does not trust; the twin is the root that it does."""
    leaf = make_leaf(make_root("Another Root"), HOST, key=LEAF.key)
    with blocking_origin(server_context(leaf)) as origin:
        code, answer = verified(capsys, "-c", config(tmp_path, origin.port, [LEAF.pin, BACKUP]))
    assert code == ExitCode.MISMATCH
    assert {item["code"] for item in answer["hosts"][0]["handshakes"]} >= {"chain_invalid"}
    with blocking_origin(server_context(LEAF)) as origin:
        assert verified(capsys, "-c", config(tmp_path, origin.port, [LEAF.pin, BACKUP]))[0] == ExitCode.OK


def test_pins_only_is_verified_by_the_leaf_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As the proxy does it: no root vouches for this server, and its key does; the twin has another key."""
    for key, expected in ((LEAF.key, ExitCode.OK), (OTHER_LEAF.key, ExitCode.MISMATCH)):
        leaf = make_leaf(make_root("Another Root"), HOST, key=key)
        with blocking_origin(server_context(leaf)) as origin:
            file = Path(config(tmp_path, origin.port, [LEAF.pin, BACKUP]))
            file.write_text(file.read_text().replace("trust: {ca_file: root.pem}", "trust: pins-only"))
            assert verified(capsys, "-c", str(file))[0] == expected


def test_nobody_there_is_exit_1_and_a_table_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line for the address, and the reason below it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert invoke(["verify", "-c", config(tmp_path, port, [LEAF.pin, BACKUP])]) == ExitCode.FAILURE
    head, row, _, reason = capsys.readouterr().out.splitlines()
    assert head.split() == ["HOST", "ADDRESS", "TLS", "KEY", "VERDICT", "MATCHED", "PIN", "EXPIRES", "BACKUP"]
    assert row.split() == [f"{HOST}:443", f"127.0.0.1:{port}", "-", "-", "dial_refused", "-", "-", "-"]
    assert reason.startswith("dial_refused: ")


def test_the_table_has_a_line_for_each_handshake_and_misses_the_backup(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both pins are in the chain that is served: nothing is left for the day a key is lost."""
    with blocking_origin(server_context(LEAF)) as origin:
        code = invoke(["verify", "-c", config(tmp_path, origin.port, [LEAF.pin, ROOT.pin])])
    printed = capsys.readouterr()
    _, rsa_row, ecdsa_row, tls13_row = printed.out.splitlines()
    assert code == ExitCode.OK
    assert rsa_row.split()[2:] == ["TLSv1.2", "RSA", "not", "offered", "-", "-", "none"]
    expires = f"{LEAF.certificate.not_valid_after_utc:%Y-%m-%d}"
    assert ecdsa_row.split()[2:] == ["TLSv1.2", "ECDSA", "secp256r1", "matched", str(LEAF.pin), expires, "none"]
    assert tls13_row.split()[2] == "TLSv1.3"
    assert f"{HOST}:443 has no backup pin" in printed.err


def test_a_wildcard_is_asked_by_name_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a name nothing is verified, which is no success; with one, its rule's policy counts."""
    with blocking_origin(server_context(LEAF)) as origin:
        file = Path(config(tmp_path, origin.port, [LEAF.pin, BACKUP]))
        file.write_text(file.read_text().replace(f"host: {HOST}", 'host: "*.example.test"'))
        code, answer = verified(capsys, "-c", str(file))
        assert (code, answer["hosts"], [item["rule"] for item in answer["skipped"]]) == (1, [], ["*.example.test"])
        code, answer = verified(capsys, "-c", str(file), HOST)
    assert (code, answer["hosts"][0]["rule"]) == (ExitCode.OK, "*.example.test")


def test_an_entry_for_the_ports_that_another_leaves_is_asked_by_port_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Which ports those are is known to the operator alone; what was not asked is said."""
    with blocking_origin(server_context(LEAF)) as origin:
        other = f"{{host: {HOST}, mode: disabled, trust: {{ca_file: root.pem}}, upstream: {{address: 127.0.0.1}}}}"
        more = f"    ports: [443]\n  - {other}\n"
        file = config(tmp_path, origin.port, [LEAF.pin, BACKUP], more)
        code, answer = verified(capsys, "-c", file)
        assert (code, [item["rule"] for item in answer["skipped"]]) == (ExitCode.OK, [HOST])
        code, answer = verified(capsys, "-c", file, f"{HOST}:{origin.port}")
    assert (code, answer["hosts"][0]["rule"], answer["hosts"][0]["mode"]) == (ExitCode.OK, HOST, "disabled")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("other.example.test", "no entry of `hosts` lists other.example.test; `pinproxy pin other.example.test`"),
        (f"{HOST}:8443", f"{HOST} is listed, and its `ports` leave 8443 out"),
        ("a b", "expected HOST or HOST:PORT"),
        ("https://api.example.com", "which is a URL or a path; expected HOST or HOST:PORT"),
    ],
)
def test_a_name_that_cannot_be_asked_is_a_wrong_command_line(
    name: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 2, before anything is dialled."""
    file = config(tmp_path, 1, [LEAF.pin, BACKUP], "    ports: [443]\n")
    assert invoke(["verify", "-c", file, name]) == ExitCode.USAGE
    assert said in capsys.readouterr().err


def surveyed(rule: HostRule, port: int, addresses: Sequence[str]) -> Survey:
    """Survey a host whose name leads to these addresses."""

    async def resolve(_host: str) -> Sequence[str]:
        return addresses

    def now() -> datetime:
        return datetime.now(UTC)

    async def run() -> Survey:
        limits = Limits()
        opener = UpstreamOpener(Dialler(limits, OwnAddresses(), resolve), limits, now)
        return await survey(opener, Authority(HOST, port), rule, now, asyncio.Semaphore(2))

    return asyncio.run(run())


@pytest.mark.parametrize("second", ["127.0.0.2", "::1"], ids=["second address", "other family"])
def test_every_address_of_a_host_is_asked(second: str) -> None:
    """One server behind a name was renewed, and the other one forgotten."""
    rule = host_rule([LEAF.pin], ROOT.anchors)
    with contextlib.ExitStack() as servers:
        good = servers.enter_context(blocking_origin(server_context(LEAF)))
        try:
            servers.enter_context(blocking_origin(server_context(OTHER_LEAF), address=second, port=good.port))
        except OSError:
            pytest.skip(f"this machine has no {second}")
        found = surveyed(rule, good.port, ["127.0.0.1", second])
        alone = surveyed(rule, good.port, ["127.0.0.1"])
    by_address = {handshake.address: handshake.outcome for handshake in found.handshakes if handshake.chain}
    assert by_address == {
        str(Authority("127.0.0.1", good.port)): Outcome.OK,
        str(Authority(second, good.port)): Outcome.MISMATCH,
    }
    assert (found.outcome, alone.outcome) == (Outcome.MISMATCH, Outcome.OK)


def test_an_address_that_does_not_answer_is_told_of_beside_one_that_does() -> None:
    """Half of the round robin is down: the verified half does not hide it."""
    with blocking_origin(server_context(LEAF)) as origin:
        found = surveyed(host_rule([LEAF.pin], ROOT.anchors), origin.port, ["127.0.0.1", "127.0.0.3"])
    assert found.outcome is Outcome.UNREACHABLE
    assert [handshake.way for handshake in found.handshakes if handshake.address.startswith("127.0.0.3")] == [None]


def test_an_address_that_this_machine_has_no_route_to_does_not_count() -> None:
    """A host with an IPv6 address, asked from a container without IPv6; the kernel says the same of TCP to a multicast group."""
    nowhere = "224.0.0.1"
    with blocking_origin(server_context(LEAF)) as origin:
        found = surveyed(host_rule([LEAF.pin], ROOT.anchors), origin.port, [nowhere, "127.0.0.1"])
        alone = surveyed(host_rule([LEAF.pin], ROOT.anchors), origin.port, [nowhere])
    assert (found.handshakes[0].outcome, exit_code_of([found])) == (Outcome.NO_ROUTE, ExitCode.OK)
    assert exit_code_of([alone]) == ExitCode.FAILURE


def test_a_name_without_an_address_is_exit_1_with_its_reason() -> None:
    """There is nobody to shake hands with, and no handshake that could be wrong."""
    found = surveyed(host_rule([LEAF.pin], ROOT.anchors), 443, [])
    described = describe_surveys([found], [], exit_code_of([found]))
    assert described["exit_code"] == ExitCode.FAILURE
    (host,) = described["hosts"]
    assert (host["outcome"], host["code"], host["handshakes"]) == ("unreachable", "dns_failed", [])


def test_a_server_that_asks_who_we_are_is_shown_the_certificate_of_the_rule() -> None:
    """As traffic shows it; the twin has none to show, and its handshakes fail."""
    clients = make_root("Clients")
    context = server_context(LEAF)
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # with 1.3 a client's side is finished before the server has looked
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=clients.der)
    client = make_client(clients)
    shown_to_it = ClientCertificate("client.pem", client.pem + client.key_pem)
    with blocking_origin(context) as origin:
        found = surveyed(host_rule([LEAF.pin], ROOT.anchors, client_cert=shown_to_it), origin.port, ["127.0.0.1"])
        bare = surveyed(host_rule([LEAF.pin], ROOT.anchors), origin.port, ["127.0.0.1"])
    assert (found.outcome, bare.outcome) == (Outcome.OK, Outcome.UNREACHABLE)


async def test_behind_an_upstream_proxy_the_host_is_asked_through_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its addresses are the proxy's to know, so that there is one place to ask, in every way."""
    async with running_origin(server_context(LEAF)) as origin, corporate_proxy({f"{HOST}:443": origin.port}) as proxy:
        file = config(tmp_path, None, [LEAF.pin, BACKUP], f"upstream_proxy: http://127.0.0.1:{proxy.port}\nno_proxy: []\n")
        code, answer = await asyncio.to_thread(verified, capsys, "-c", file)
    (host,) = answer["hosts"]
    assert (code, host["is_behind_proxy"], host["outcome"]) == (ExitCode.OK, True, "ok")
    assert {item["address"] for item in host["handshakes"]} == {f"127.0.0.1:{proxy.port}"}
    assert proxy.targets == [f"{HOST}:443"] * 3
