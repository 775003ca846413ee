"""Is a loaded candidate right? On every batch, called again, in another order, in other company; and for the user."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from attrs import frozen

from navigator_core import batches, gates, masking, verification
from navigator_core.entrant import Entrant
from navigator_core.loading import Running
from navigator_core.memory import rss
from navigator_core.reference import StoredBatch
from navigator_core.results import Tolerance, Verdict
from navigator_core.signature import Signature
from navigator_core.verification import Deviation

UNLIMITED = Tolerance(rtol=math.inf, atol=math.inf)
REPLAYED = 4
"""Calls that are made once more in the opposite order: those with the fewest rows, as one lost state shows in any."""

COMPANY = 32.0
"""Unit roundoffs by which a row's result may change with the rows beside it, which change the order of sums."""

AGAIN = 4.0
"""Unit roundoffs of a reduced precision by which the same call may differ from itself."""

OK = "ok"
STOCHASTIC = "the source is stochastic, so that nothing can be compared with it"

Outputs = dict[str, np.ndarray]


@frozen
class Judgement:
    """``reason`` is None when every check holds, else the first that does not.

    ``failed``: it could not be run. ``unknown``: nothing says whether it is right.
    """

    verdict: Verdict | None
    reason: str | None = None
    failed: bool = False
    unknown: bool = False


class Judge:
    """What is asked of one candidate. `judge` comes first; `still_right` may be asked of later calls.

    ``grown`` are the bytes that the user's own gate took in this process, imports included: none of the candidate's.
    """

    grown = 0

    def __init__(
        self,
        entrant: Entrant,
        tolerance: Mapping[str, Tolerance],
        verify: Path | None,
        *,
        is_reference: bool,
        judged_later: bool = False,
    ) -> None:
        self._entrant, self._given, self._verify = entrant, tolerance, verify
        self._has_gate = verify is not None or judged_later
        self._reference = entrant.reference
        self._is_reference = is_reference
        self._derived = {
            name: verification.bar(noise, self._reference.precision, entrant.precision)
            for name, noise in self._reference.noise.items()
        }
        self._bars = {name: self._bar(name, derived) for name, derived in self._derived.items()}
        self._found: dict[str, list[Deviation]] = {}

    def judge(self, run: Running, signature: Signature) -> Judgement:
        """Every check, one after the other. What a candidate raises is a check that does not hold."""
        return self._gated(run, signature) if self._reference.stochastic else self._compared(run, signature)

    def still_right(self, batch: StoredBatch, outputs: Outputs) -> str:
        """ "ok", or what is wrong with outputs that the timed run gave for a batch that was right before."""
        off = self._off(batch, outputs)
        text = self._told(off)
        ranks = self._ranks({**self._found, batch.name: off})
        return next((one for one in (text, *ranks.values()) if one != OK), OK)

    def _compared(self, run: Running, signature: Signature) -> Judgement:
        checks: dict[str, str] = {}
        pairs: list[tuple[Outputs, Outputs]] = []
        rows: dict[str, Outputs] = {}
        first: dict[str, Outputs] = {}
        replayed = self._replayed()
        for batch in self._reference.batches:
            try:
                outputs = run(self._inputs(batch))
            except Exception as error:
                checks[batch.name] = raised(error)
                continue
            self._found[batch.name] = self._off(batch, outputs)
            checks[batch.name] = self._told(self._found[batch.name])
            if batch.name in replayed:
                first[batch.name] = outputs
            if batch.name.startswith("batch ") and not any(one.wrong for one in self._found[batch.name]):
                rows[batch.name] = batches.one_row(outputs, signature, 0)
            if batch.name.startswith("sample ") and self._verify is not None:
                pairs.append((batch.reference(self._entrant.reference_folder), outputs))
        if not self._found:
            return Judgement(None, next(iter(checks.values())), failed=True)
        again = [batch for batch in self._reference.batches if batch.name in first]
        checks |= self._recalled(run, first, again) if again else {}
        checks |= {f"top-1 of {name}": text for name, text in self._ranks(self._found).items()}
        notes: list[str] = []
        well_formed = not any(one.wrong for found in self._found.values() for one in found)
        if well_formed and not self._reference.coupled:
            beside = self._beside(run)
            if isinstance(beside, str):
                checks["rows independent"] = beside
            elif beside:
                checks["rows independent"], notes = self._independent(beside, signature)
            if not self._reference.sized and (len(rows) > 1 or len(beside) > 2):
                checks["batch sizes agree"] = self._agree(rows, () if isinstance(beside, str) else beside, signature)
        return self._concluded(run, signature, checks, pairs, notes)

    def _gated(self, run: Running, signature: Signature) -> Judgement:
        """Of a stochastic source only the form of the answers can be compared; the user's own gate may decide."""
        checks: dict[str, str] = {}
        pairs: list[tuple[Outputs, Outputs]] = []
        for batch in self._reference.batches:
            try:
                outputs = run(self._inputs(batch))
            except Exception as error:
                checks[batch.name] = raised(error)
                continue
            expected = batch.reference(self._entrant.reference_folder)
            wrong = [off for name, ref in expected.items() if (off := verification.misformed(name, outputs, ref))]
            checks[batch.name] = wrong[0].wrong or OK if wrong else OK
            if batch.name.startswith("sample "):
                pairs.append((expected, outputs))
        judged = self._concluded(run, signature, checks, pairs, [])
        if judged.reason is None and not self._has_gate and not self._is_reference:
            return Judgement(judged.verdict, STOCHASTIC, unknown=True)
        return judged

    def _concluded(
        self,
        run: Running,
        signature: Signature,
        checks: dict[str, str],
        pairs: Sequence[tuple[Outputs, Outputs]],
        notes: Sequence[str],
    ) -> Judgement:
        before = rss()
        gated, metrics = gates.check(self._verify, run, signature, dict(self._reference.metrics), pairs)
        self.grown = max(0, rss() - before)
        checks |= {f"metric {name}" if name in checks else name: text for name, text in gated.items()}
        found = [one for off in self._found.values() for one in off]
        verdict = verification.verdict(found, checks, self._bars, self._given, metrics, notes)
        reason = next((f"{name}: {text}" for name, text in checks.items() if text != OK), None)
        failed = any(text.startswith("raised ") for text in checks.values())
        return Judgement(verdict, reason, failed=failed)

    def _bar(self, output: str, derived: Tolerance) -> Tolerance:
        """The derived bar; none for a reduced precision that the user's own gate, or a rank, decides about."""
        noise, given = self._reference.noise[output], self._given.get(output)
        reduced = self._entrant.precision.epsilon > self._reference.precision.epsilon
        decided = self._has_gate or (given is not None and given.top1 is not None)
        return UNLIMITED if reduced and decided and not noise.exact else derived

    def _inputs(self, batch: StoredBatch) -> Outputs:
        return batch.inputs(self._entrant.reference_folder)

    def _kept(self, batch: StoredBatch) -> Outputs:
        masks = self._reference.masks
        return masking.kept(masks, self._inputs(batch)) if masks else {}

    def _off(self, batch: StoredBatch, outputs: Outputs) -> list[Deviation]:
        root = self._entrant.reference_folder
        expected, truth = batch.reference(root), batch.truth(root)
        return verification.deviations(outputs, expected, truth, self._reference.noise, self._given, self._kept(batch))

    def _told(self, off: Sequence[Deviation]) -> str:
        wrong = [one for one in off if not verification.within(one, self._bars, self._given)]
        return verification.sentence(wrong[0], self._bars, self._given) if wrong else OK

    def _ranks(self, found: Mapping[str, Sequence[Deviation]]) -> dict[str, str]:
        return verification.disagreement([one for off in found.values() for one in off], self._given)

    def _replayed(self) -> set[str]:
        return {batch.name for batch in sorted(self._reference.batches, key=lambda batch: batch.size)[:REPLAYED]}

    def _recalled(self, run: Running, first: Mapping[str, Outputs], again: Sequence[StoredBatch]) -> dict[str, str]:
        """Calls once more, in the opposite order and at last twice in a row: nothing may be left of those before."""
        own, source = self._entrant.precision.epsilon, self._reference.precision.epsilon
        share = max(COMPANY * min(own, source), AGAIN * own)
        try:
            for batch in reversed(again):
                last = run(self._inputs(batch))
                if text := self._changed(first[batch.name], last, self._kept(batch), share):
                    return {"order of calls": f"{batch.name} gives another answer after other calls ({text})"}
            text = self._changed(last, run(self._inputs(again[0])), self._kept(again[0]), share)
        except Exception as error:
            return {"repeated call": raised(error)}
        return {
            "order of calls": OK,
            "repeated call": f"a repeated call gives another answer ({text})" if text else OK,
        }

    def _beside(self, run: Running) -> list[Outputs] | str:
        """The answers to the batches that have one row in common; or what is raised, or wrong with their form."""
        found: list[Outputs] = []
        for batch in self._reference.neighbours:
            try:
                found.append(run(self._inputs(batch)))
            except Exception as error:
                return raised(error)
            expected = batch.reference(self._entrant.reference_folder)
            for name, ref in expected.items():
                if off := verification.misformed(name, found[-1], ref):
                    return off.wrong or OK
        return found

    def _independent(self, beside: Sequence[Outputs], signature: Signature) -> tuple[str, list[str]]:
        """A row's result does not depend on the rows beside it; how far it does by the number format is a note."""
        a, b = (batches.one_row(outputs, signature, batches.KEPT) for outputs in beside[:2])
        kept = batches.one_row(self._kept(self._reference.neighbours[0]), signature, batches.KEPT)
        text = self._changed(a, b, kept, COMPANY * self._entrant.precision.epsilon)
        if text:
            return f"row {batches.KEPT} changes with the rows beside it ({text})", []
        if self._entrant.precision.epsilon <= self._reference.precision.epsilon:
            return OK, []
        strictly = self._changed(a, b, kept, COMPANY * self._reference.precision.epsilon)
        why = f"in {self._entrant.precision.name} rows influence each other ({strictly}), which is no gate"
        return OK, [why] if strictly else []

    def _agree(self, rows: Mapping[str, Outputs], beside: Sequence[Outputs], signature: Signature) -> str:
        """A row's result is the same in a batch of any size and alone, each of which may be off by the bar."""
        named = {batch.name: batch for batch in (*self._reference.batches, *self._reference.neighbours)}
        pairs = [(name, row, f"batch 1{name[len(name.partition(' (')[0]) :]}") for name, row in rows.items()]
        alone = dict(rows)
        if len(beside) > 2:
            company, _, single = self._reference.neighbours
            alone[single.name] = batches.one_row(beside[2], signature, 0)
            together = batches.one_row(beside[0], signature, batches.KEPT)
            pairs.append((company.name, together, single.name))
        for name, found, other in pairs:
            if name == other or other not in alone:
                continue
            kept = batches.one_row(self._kept(named[other]), signature, 0)
            expected = alone[other]
            off = verification.deviations(found, expected, expected, self._reference.noise, self._given, kept)
            wrong = [one for one in off if not self._same_row(one)]
            if wrong:
                text = verification.sentence(wrong[0], self._derived, self._given)
                return f"a row of {name} is another than alone: {text}"
        return OK

    def _same_row(self, off: Deviation) -> bool:
        """Ranks have a share of all positions to go by, which one row does not."""
        given = self._given.get(off.output)
        free = given is not None and given.top1 is not None and self._reference.noise[off.output].exact
        return free or verification.excess(off, self._derived, self._given) <= 2.0

    def _changed(self, before: Outputs, after: Outputs, kept: Outputs, share: float) -> str:
        """What differs between two answers to the same question by more than this share of its scale; "" if nothing."""
        for name, row in before.items():
            noise = self._reference.noise.get(name)
            if noise is None:
                continue
            (off,) = verification.deviations({name: after[name]}, {name: row}, {name: row}, {name: noise}, {}, kept)
            allowed = max(share * noise.scale, noise.max_absolute if math.isfinite(noise.max_absolute) else 0.0)
            if off.wrong or off.max_absolute > allowed:
                return f"output {name!r}: {off.wrong or f'by {off.max_absolute:.1e}, allowed {allowed:.1e}'}"
        return ""


def raised(error: BaseException) -> str:
    """The check of a call that raised."""
    first = (str(error).strip().splitlines() or [""])[0][:200]
    return f"raised {type(error).__name__}: {first}"
