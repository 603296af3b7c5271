"""What a verdict leads to: enforce, report-only and disabled; forbidden keys; sets and pins that expire."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from pinproxy.pins.pin import Pin
from pinproxy.pins.pin_set import OnExpiry, PinSet
from pinproxy.policy.rule import Mode
from pinproxy.policy.verdict import Decision, Verdict
from tests.harness.clients import Way, ask, each_way, every_way
from tests.harness.origin import running_origin
from tests.harness.outcome import ask_once, assert_denied, assert_served
from tests.harness.pki import NOW, Issued, make_intermediate, make_leaf, make_root, server_context
from tests.harness.running import HOST, host_rule, running_proxy

#     ROOT
#      └─ INTERMEDIATE
#          └─ LEAF          pinned: OTHER, a key that is nowhere in the chain
ROOT = make_root()
INTERMEDIATE = make_intermediate(ROOT)
LEAF = make_leaf(INTERMEDIATE, HOST)
OTHER = make_leaf(INTERMEDIATE, HOST)
TRUST = ROOT.anchors
CONTEXT = server_context(LEAF)
DAY = timedelta(days=1)

each_mode = pytest.mark.parametrize("mode", ["enforce", "report-only"])


# --- report-only -----------------------------------------------------------------------------------------------------


@each_way
async def test_report_only_lets_a_mismatch_pass_and_says_so_everywhere(way: Way) -> None:
    """The verdict is the one enforce would have; only the decision differs, in the log and in the metrics alike."""
    outcome = await ask_once(way, CONTEXT, [OTHER.pin], TRUST, mode="report-only")
    assert_served(outcome, would_deny=True)
    assert (outcome.line["verdict"], outcome.line["code"]) == ("no_match", "pin_mismatch")
    assert outcome.would_deny == 1


@each_way
async def test_enforce_denies_the_same_mismatch(way: Way) -> None:
    """The twin: nothing but the mode has changed, and the verdict has not."""
    outcome = await ask_once(way, CONTEXT, [OTHER.pin], TRUST, mode="enforce")
    assert_denied(outcome, "pin_mismatch")
    assert outcome.line["verdict"] == "no_match"
    assert outcome.would_deny == 0


@each_way
async def test_report_only_has_nothing_to_report_on_a_match(way: Way) -> None:
    """Would-be denials are counted, not requests."""
    outcome = await ask_once(way, CONTEXT, [LEAF.pin], TRUST, mode="report-only")
    assert_served(outcome)
    assert (outcome.line["verdict"], outcome.would_deny) == ("matched", 0)


@each_way
async def test_report_only_reports_every_request_of_a_reused_connection(way: Way) -> None:
    """A pooled connection keeps its judgement: the second request over it would be denied too."""
    async with running_origin(CONTEXT) as origin:
        rule = host_rule([OTHER.pin], TRUST, mode="report-only", port=origin.port)
        async with running_proxy(rule) as proxy:
            for count in (1, 2):
                assert (await ask(way, proxy)).status == 200
                assert (await proxy.connection(count=count))["would_deny"] is True
            counts = proxy.metrics.rules[rule.label]
            assert (counts.would_deny, counts.verdicts[Verdict.NO_MATCH]) == (2, 2)
            assert {key[1] for key in counts.connections} == {Decision.ALLOW_AND_REPORT}
            assert origin.handshakes == (1 if way == "origination" else 2)


# --- disabled --------------------------------------------------------------------------------------------------------


@each_way
async def test_a_disabled_rule_pins_nothing_and_says_so(way: Way) -> None:
    """Listed, not pinned: the verdict has a name of its own and never reads as a match."""
    outcome = await ask_once(way, CONTEXT, (), TRUST, mode="disabled")
    assert_served(outcome)
    assert (outcome.line["verdict"], outcome.line["matched_pin"]) == ("not_pinned", None)


@each_way
async def test_a_disabled_rule_still_verifies_the_chain(way: Way) -> None:
    """The twin: the same rule, and roots that do not vouch for the origin."""
    outcome = await ask_once(way, CONTEXT, (), make_root("Another Root").anchors, mode="disabled")
    assert_denied(outcome, "chain_invalid", status=502)


# --- forbidden -------------------------------------------------------------------------------------------------------


@pytest.mark.attack(
    "a key that was ruled out, beside one that is pinned",
    expect="pin_forbidden",
    topic="pins",
    motive="a lost key",
)
@every_way
@each_mode
@pytest.mark.parametrize("forbidden", [LEAF, INTERMEDIATE, ROOT], ids=["leaf", "intermediate", "root"])
async def test_a_forbidden_key_denies_beside_a_match_and_in_report_only(way: Way, mode: Mode, forbidden: Issued) -> None:
    """Somebody else holds that key, so neither another pin nor the mode makes it good."""
    pins = PinSet("stolen", (LEAF.pin,), forbidden=(forbidden.pin,))
    assert_denied(await ask_once(way, CONTEXT, pins, TRUST, mode=mode), "pin_forbidden")


@every_way
async def test_a_forbidden_key_that_is_only_sent_along_denies_nothing(way: Way) -> None:
    """The twin: it is not in the verified chain, and an attacker cannot have a host denied by sending it."""
    pins = PinSet("stolen", (LEAF.pin,), forbidden=(OTHER.pin,))
    assert_served(await ask_once(way, server_context(LEAF, OTHER), pins, TRUST))


@every_way
async def test_a_forbidden_key_denies_in_an_expired_set(way: Way) -> None:
    """Expiry may end the pinning; it gives no key back."""
    pins = PinSet("old", (LEAF.pin,), forbidden=(INTERMEDIATE.pin,), expires=NOW - DAY, on_expiry="disabled")
    assert_denied(await ask_once(way, CONTEXT, pins, TRUST), "pin_forbidden")


# --- expiry of the set -----------------------------------------------------------------------------------------------


def expired(on_expiry: OnExpiry, *, matches: bool = False) -> PinSet:
    """A set that ended yesterday."""
    return PinSet("old", ((LEAF if matches else OTHER).pin,), expires=NOW - DAY, on_expiry=on_expiry)


@pytest.mark.attack(
    "the attacker waits until the pin set has expired",
    expect="pin_set_expired",
    topic="pins",
    motive="Android's expired_pin.xml; RFC 7469 §2.3",
)
@every_way
async def test_an_expired_set_keeps_denying_by_default(way: Way) -> None:
    """`on_expiry: enforce`: forgetting to renew a date must not switch the pins off."""
    outcome = await ask_once(way, CONTEXT, expired("enforce"), TRUST)
    assert_denied(outcome, "pin_set_expired")
    assert outcome.line["verdict"] == "expired"


@pytest.mark.attack(
    "a pin set expires while a connection is open: what matched still does, and what does not match is denied as before",
    expect=("serve", "pin_set_expired"),
    topic="pins",
    motive="RFC 7469 §2.3",
)
async def test_a_set_that_expires_while_a_connection_is_open_changes_no_match() -> None:
    """An end is no mismatch: the open connection goes on, and the next server that matches nothing is denied."""
    now = NOW
    contexts = [CONTEXT, server_context(make_leaf(INTERMEDIATE, HOST))]
    async with running_origin(lambda number: contexts[number]) as origin:
        rule = host_rule([LEAF.pin], TRUST, port=origin.port)
        assert rule.pin_set is not None
        rule = replace(rule, pin_set=replace(rule.pin_set, expires=NOW + DAY))
        async with running_proxy(rule, clock=lambda: now) as proxy:
            assert (await ask("origination", proxy)).status == 200
            now = NOW + 2 * DAY
            assert (await ask("origination", proxy)).status == 200
            assert (origin.handshakes, (await proxy.connection(count=2))["verdict"]) == (1, "matched")
            assert (await ask("interception", proxy)).code == "pin_set_expired"


@each_way
async def test_an_expired_set_may_report_only(way: Way) -> None:
    """`on_expiry: report-only`: passes, and is counted as what enforce would deny."""
    outcome = await ask_once(way, CONTEXT, expired("report-only"), TRUST)
    assert_served(outcome, would_deny=True)
    assert (outcome.line["verdict"], outcome.line["code"]) == ("expired", "pin_set_expired")


@each_way
async def test_an_expired_set_may_be_disabled(way: Way) -> None:
    """`on_expiry: disabled`: passes without a report, and the verdict still says `expired`."""
    outcome = await ask_once(way, CONTEXT, expired("disabled"), TRUST)
    assert_served(outcome)
    assert outcome.line["verdict"] == "expired"


@every_way
@pytest.mark.parametrize("on_expiry", ["enforce", "report-only", "disabled"])
async def test_an_expired_set_still_matches(way: Way, on_expiry: OnExpiry) -> None:
    """What matches is a match, whatever the date says."""
    outcome = await ask_once(way, CONTEXT, expired(on_expiry, matches=True), TRUST)
    assert_served(outcome)
    assert outcome.line["verdict"] == "matched"


@each_way
@pytest.mark.parametrize("on_expiry", ["report-only", "disabled"])
async def test_a_set_that_has_not_expired_denies_whatever_comes_after(way: Way, on_expiry: OnExpiry) -> None:
    """The twin: the same sets, ending tomorrow."""
    pins = replace(expired(on_expiry), expires=NOW + DAY)
    assert_denied(await ask_once(way, CONTEXT, pins, TRUST), "pin_mismatch")


# --- expiry of a pin -------------------------------------------------------------------------------------------------


@pytest.mark.attack("a pin before its first or after its last day", expect="pin_mismatch", topic="pins")
@every_way
@pytest.mark.parametrize(
    "pin",
    [replace(LEAF.pin, not_after=NOW - DAY), replace(LEAF.pin, not_before=NOW + DAY)],
    ids=["no longer", "not yet"],
)
async def test_a_pin_outside_its_dates_matches_nothing(way: Way, pin: Pin) -> None:
    """A backup pin may be retired, or announced, by date."""
    assert_denied(await ask_once(way, CONTEXT, [pin], TRUST), "pin_mismatch")


@every_way
async def test_a_pin_inside_its_dates_matches(way: Way) -> None:
    """The twin, both dates set."""
    pin = replace(LEAF.pin, not_before=NOW - DAY, not_after=NOW + DAY)
    assert_served(await ask_once(way, CONTEXT, [pin], TRUST))
