"""Proposed pins: the leaf and its issuer of what was let pass, and what is only named."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from pinproxy.authority import Authority
from pinproxy.pins.chain import VerifiedChain, certificate
from pinproxy.policy.rule import HostRule, Mode
from pinproxy.policy.verdict import judge_pins
from pinproxy.report.observations import Observations
from pinproxy.report.observations_json import ObservationsDocument
from pinproxy.report.proposal import Proposal, propose
from tests.harness.pki import NOW, Issued, make_intermediate, make_leaf, make_root
from tests.harness.running import HOST, host_rule
from tests.unit.report.events import event

ROOT = make_root("Example Root")
ISSUER, SECOND = make_intermediate(ROOT, "Example CA R13"), make_intermediate(ROOT, "Example CA R14")
LEAF, OTHER, MOVED = make_leaf(ISSUER, HOST), make_leaf(ISSUER, HOST), make_leaf(SECOND, HOST)
ENDED = make_leaf(ISSUER, HOST, not_before=NOW - timedelta(days=9), not_after=NOW - timedelta(days=2))
BACKUP = make_leaf(ROOT, HOST).pin


def rule(mode: Mode = "report-only", host: str = HOST) -> HostRule:
    """Make a rule that none of the chains meets."""
    return host_rule([BACKUP], ROOT.anchors, host=host, mode=mode)


def chain(*path: Issued) -> VerifiedChain:
    """Make a verified chain, leaf first."""
    return VerifiedChain(tuple(certificate(item.der) for item in path))


def watch(
    observations: Observations, shown: Sequence[Issued], times: int = 1, mode: Mode = "report-only", port: int = 443
) -> None:
    """Let a host show a chain, a number of times."""
    met, authority, verified = rule(mode), Authority(HOST, port), chain(*shown)
    judgement = judge_pins(verified, met, authority, NOW)
    for _ in range(times):
        observations.record(
            event(met, at=NOW, authority=authority, chain=verified, judgement=judgement, decision=judgement.decision)
        )


def proposed(observations: Observations) -> Proposal:
    """Make the one proposal."""
    document = ObservationsDocument("pinproxy-observations", 1, NOW, NOW, list(observations.hosts))
    (proposal,) = propose(document.by_authority(), NOW)
    return proposal


def test_the_leaf_and_its_issuer_are_proposed_each_at_its_position_and_the_root_is_not() -> None:
    """A root passes every certificate of every intermediate below it."""
    observations = Observations(NOW)
    watch(observations, (LEAF, ISSUER, ROOT), 3)
    proposal = proposed(observations)
    assert [(pin.pin, pin.position, pin.connections, pin.days, pin.is_root) for pin in proposal.proposed] == [
        (str(LEAF.pin), "leaf", 3, 1, False),
        (str(ISSUER.pin), "ca", 3, 1, False),
    ]
    assert (proposal.host, proposal.ports, proposal.rules, proposal.counts.would_deny) == (HOST, (443,), (HOST,), 3)


def test_a_root_that_issues_leaves_itself_is_proposed_beside_the_leaf_and_called_a_root() -> None:
    """A private CA without intermediates has no other issuer."""
    observations = Observations(NOW)
    watch(observations, (make_leaf(ROOT, HOST), ROOT))
    assert [(pin.position, pin.is_root) for pin in proposed(observations).proposed] == [("leaf", False), ("ca", True)]


def test_a_chain_of_one_proposes_its_leaf_alone() -> None:
    """There is no CA to name."""
    observations = Observations(NOW)
    watch(observations, (LEAF,))
    assert [pin.position for pin in proposed(observations).pins] == ["leaf"]


def test_two_servers_and_two_ports_are_one_set_and_their_common_issuer_one_pin() -> None:
    """Connections add up."""
    observations = Observations(NOW)
    watch(observations, (LEAF, ISSUER, ROOT), 2)
    watch(observations, (OTHER, ISSUER, ROOT), 1, port=8443)
    proposal = proposed(observations)
    assert [(pin.pin, pin.connections) for pin in proposal.proposed] == [
        (str(LEAF.pin), 2),
        (str(OTHER.pin), 1),
        (str(ISSUER.pin), 3),
    ]
    assert proposal.ports == (443, 8443)


def test_what_was_denied_each_time_is_named_and_not_proposed() -> None:
    """Somebody kept it out, and for a reason."""
    observations = Observations(NOW)
    watch(observations, (LEAF, ISSUER, ROOT))
    watch(observations, (MOVED, SECOND, ROOT), 5, mode="enforce")
    proposal = proposed(observations)
    assert [pin.pin for pin in proposal.proposed] == [str(LEAF.pin), str(ISSUER.pin)]
    doubted = {pin.pin: pin.doubt for pin in proposal.pins if pin.doubt}
    assert doubted.keys() == {str(MOVED.pin), str(SECOND.pin)}
    assert all("denied each time" in doubt for doubt in doubted.values())


def test_what_is_rare_is_named_and_not_proposed() -> None:
    """One connection in two hundred may be somebody else's; one in fifty is proposed."""
    observations = Observations(NOW)
    watch(observations, (LEAF, ISSUER, ROOT), 199)
    watch(observations, (MOVED, SECOND, ROOT))
    assert {pin.pin for pin in proposed(observations).pins if pin.doubt} == {str(MOVED.pin), str(SECOND.pin)}
    watch(observations, (MOVED, SECOND, ROOT), 3)
    assert [pin.doubt for pin in proposed(observations).pins] == [None] * 4


def test_a_certificate_that_has_ended_is_named_and_its_issuer_is_proposed_for_the_one_that_has_not() -> None:
    """A doubt about one path is none about a CA that another shares."""
    observations = Observations(NOW)
    watch(observations, (ENDED, ISSUER, ROOT), 5)
    watch(observations, (LEAF, ISSUER, ROOT), 5)
    proposal = proposed(observations)
    assert [pin.pin for pin in proposal.proposed] == [str(LEAF.pin), str(ISSUER.pin)]
    (doubted,) = [pin for pin in proposal.pins if pin.doubt]
    assert (doubted.pin, "ended on" in str(doubted.doubt)) == (str(ENDED.pin), True)
