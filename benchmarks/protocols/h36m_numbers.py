"""From errors of frames to the numbers of the tables: averages over frames, actions, subjects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets.h36m import ACTIONS
from benchmarks.metrics.averages import median, ratio
from benchmarks.protocols.h36m_rules import Number
from harness.api import Statistics

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class SequenceErrors:
    """Statistics in the split's order, and how often each sequence counts in each draw (B, s)."""

    statistics: Statistics
    weights: Ints
    batch: int

    @classmethod
    def of(cls, statistics: Statistics, weights: Ints, batch: int) -> SequenceErrors:
        """Put sequences in the split's order, so that sums do not depend on the cut of shards."""
        order = np.argsort(statistics.position, kind="stable")
        return cls(statistics.take(order), weights[:, order], batch)

    def metrics(self, number: Number) -> dict[str, Floats]:
        """Return one number, or one for every action, of each draw (B,)."""
        among = self._among(number)
        if number.average == "deviation":
            return {number.name: self._deviation(number, among).mean(axis=1)}
        if number.average == "subjects":
            return {number.name: self._by_subject(number, among)}
        if number.average == "median":
            return {number.name: self._median(number, among)}
        total, count = self._sums(number)
        if number.average == "count":
            kept, offsets = self._kept(number.stride), self.statistics.ragged("number").offsets
            frames = np.add.reduceat(np.append(kept, 0), offsets[:-1]) if len(offsets) > 1 else kept
            return {number.name: (self.weights[:, among] @ frames[among]).astype(np.float64)}
        if number.average == "frames":
            return {number.name: ratio(total[:, among].sum(axis=1), count[:, among].sum(axis=1))}
        actions = self.statistics.dense("action")
        if number.average == "sequences":
            total = np.where(count > 0, self.weights * ratio(total, count), 0.0)
            count = np.where(count > 0, self.weights, 0)
        means = {
            ACTIONS[action]: ratio(
                total[:, among & (actions == action)].sum(axis=1),
                count[:, among & (actions == action)].sum(axis=1),
            )
            for action in np.unique(actions[among])
        }
        if number.average == "each action":
            return {number.name.format(action=name): value for name, value in means.items()}
        stacked = np.array(list(means.values())).reshape(-1, len(self.weights))
        return {number.name: _mean_of_valued(stacked)}

    def breakdown(self, joints: Sequence[str]) -> dict[str, dict[str, float]]:
        """Return MPJPE by joint, action, subject and camera, pooled over frames."""
        everything = np.ones(len(self.statistics), dtype=np.bool_)
        by_joint = {
            joint: self._pooled(Number("", "mpjpe", "frames", (row,)), everything)
            for row, joint in enumerate(joints)
        }
        plain, result = Number("", "mpjpe", "frames"), {"joint": by_joint}
        for key, name in (
            ("action", ACTIONS.__getitem__),
            ("subject", "S{}".format),
            ("camera", str),
        ):
            values = self.statistics.dense(key)
            result[key] = {name(v): self._pooled(plain, values == v) for v in np.unique(values)}
        return result

    def of_sequences(self, errors: Sequence[str]) -> dict[str, Floats]:
        """Return the mean error of every sequence (s,), in the order the statistics were given."""
        back = np.argsort(np.argsort(self.statistics.position, kind="stable"), kind="stable")
        values = {}
        for error in errors:
            total, count = self._sums(Number("", error, "frames"))
            values[error] = ratio(total, count)[0][back]
        return values

    def _among(self, number: Number) -> Bools:
        camera = self.statistics.dense("camera")
        if not number.cameras:
            return np.ones(len(camera), dtype=np.bool_)
        return np.isin(camera, [int(name) for name in number.cameras])

    def _kept(self, stride: int) -> Bools:
        return np.asarray(self.statistics.ragged("number").values % stride == 0)

    def _frames(self, number: Number) -> tuple[Floats, Ints]:
        """Return each frame's sum of errors (n,) and how many were added."""
        values = self.statistics.ragged(number.error).values
        values = values.reshape(len(values), -1)
        if number.columns:
            values = values[:, list(number.columns)]
        valued = ~np.isnan(values) & self._kept(number.stride)[:, None]
        return np.where(valued, values, 0.0).sum(axis=1), valued.sum(axis=1)

    def _sums(self, number: Number) -> tuple[Floats, NDArray[np.float64]]:
        """Return per draw and sequence (B, s) the weighted sum of errors and their count."""
        value, counted = self._frames(number)
        starts = self.statistics.ragged("number").offsets[:-1]
        if not len(starts):
            return np.zeros(self.weights.shape), np.zeros(self.weights.shape)
        if self.batch == 1:
            total, count = np.add.reduceat(value, starts), np.add.reduceat(counted, starts)
            weights = self.weights.astype(np.float64)
            return weights * total, weights * count
        times = np.array([self._in_whole_batches(draw) for draw in self.weights], dtype=np.float64)
        total = np.add.reduceat(times * value, starts, axis=1)
        return total, np.add.reduceat(times * counted, starts, axis=1)

    def _in_whole_batches(self, weights: Ints) -> Ints:
        """Return how often each frame (n,) counts when every action keeps whole batches only.

        The copies of a sequence follow one another, as the sequences of an action do.
        """
        column = self.statistics.ragged("number")
        lengths, actions = np.diff(column.offsets), self.statistics.dense("action")
        times = np.empty(len(column.values), dtype=np.int64)
        for action in np.unique(actions):
            own = np.flatnonzero(actions == action)
            ends = np.cumsum(weights[own] * lengths[own])
            kept = ends[-1] - ends[-1] % self.batch
            for sequence, end in zip(own, ends, strict=True):
                length, copies = lengths[sequence], weights[sequence]
                frame = np.arange(length)
                left = kept - (end - copies * length) - frame
                rows = slice(column.offsets[sequence], column.offsets[sequence + 1])
                times[rows] = np.clip(-(-left // length), 0, copies)
        return times

    def _median(self, number: Number, among: Bools) -> Floats:
        total, count = self._frames(number)
        owner = self.statistics.ragged("number").owner
        valued = (count > 0) & among[owner]
        return median(total[valued] / count[valued], self.weights, owner[valued])

    def _deviation(self, number: Number, among: Bools) -> Floats:
        """Return the standard deviation (B, m), divisor n, of each column over the frames."""
        column = self.statistics.ragged(number.error)
        # Sums of squares about a nearby centre lose no digits.
        away = column.values - column.values.mean(axis=0)
        starts, weights = column.offsets[:-1], self.weights[:, among].astype(np.float64)
        count = (weights @ np.diff(column.offsets)[among])[:, None]
        first, second = (
            ratio(weights @ np.add.reduceat(power, starts, axis=0)[among], count)
            for power in (away, away**2)
        )
        return np.sqrt(np.maximum(second - first**2, 0.0))

    def _by_subject(self, number: Number, among: Bools) -> Floats:
        subject = self.statistics.dense("subject")
        values = [
            self._deviation(number, among & (subject == one)).mean(axis=1)
            for one in np.unique(subject[among])
        ]
        return _mean_of_valued(np.array(values).reshape(-1, len(self.weights)))

    def _pooled(self, number: Number, among: Bools) -> float:
        total, count = self._sums(number)
        return float(ratio(total[:, among].sum(axis=1), count[:, among].sum(axis=1))[0])


def _mean_of_valued(values: Floats) -> Floats:
    """Return the mean (B,) over rows (m, B), NaN left out; NaN where nothing is left."""
    valued = ~np.isnan(values)
    return ratio(np.where(valued, values, 0.0).sum(axis=0), valued.sum(axis=0))
