"""What a cell's values depend on besides the device, as it is in this run."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_gaitperf.baseline.cells import Fingerprint
    from pytest_gaitperf.engine.resources import Resources
    from pytest_gaitperf.measurement import Measurement
    from pytest_gaitperf.workload import Workload


class FactsOf:
    """Gathers the facts of measured cells, to compare them with the past.

    ``starts`` counts the starts of the server so far.
    """

    def __init__(self, resources: Resources, starts: Callable[[], int]) -> None:
        self._resources = resources
        self._starts = starts
        self._hashes: dict[tuple[str, int], str] = {}

    def __call__(self, workload: Workload, measurement: Measurement) -> Fingerprint:
        """Return the facts of a cell as it was measured."""
        from pytest_gaitperf.baseline.cells import Fingerprint  # noqa: PLC0415
        from pytest_gaitperf.load.data import DEFAULT_DATA  # noqa: PLC0415 - numpy

        model = self._resources.server.model(workload.model, workload.version)
        return Fingerprint(
            triton=self._resources.server.version,
            signature=model.signature,
            protocol=workload.protocol,
            transport=workload.transport,
            data="" if measurement.data == DEFAULT_DATA else measurement.data,
            rails={"energy_per_inference": self._rails(measurement)}
            if measurement.energy_rails
            else {},
            content=self._content_hash(workload.model),
        )

    def _rails(self, measurement: Measurement) -> str:
        """Name the rails of the total; an estimate also by its watts, so that they never mix."""
        if measurement.estimated:
            return self._resources.settings.power
        return "+".join(measurement.energy_rails)

    def _content_hash(self, model: str) -> str:
        from pytest_gaitperf.zoo.repository import content_hash  # noqa: PLC0415

        key = model, self._starts()  # a server started anew reads the files anew
        if key not in self._hashes:
            directory = self._resources.settings.triton_repository / model
            ours = self._resources.server.mode != "attach" and directory.is_dir()
            self._hashes[key] = content_hash(directory) if ours else ""
        return self._hashes[key]
