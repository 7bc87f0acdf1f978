"""A recording as an Observation whose components hold FHIR's SampledData, one for each measured lead."""

import numpy as np

from lsemvae_edge.exchange import fhir_terms as terms
from lsemvae_edge.exchange.counts import count
from lsemvae_edge.exchange.fhir_terms import Json
from lsemvae_edge.record import Record


def components(record: Record) -> list[Json]:
    """Return the components of the waveform, in the order of the standard's lead numbers.

    Leads that follow from others by algebra are not sent, and neither are channels that are no standard lead: who reads
    this would take either for a measurement.
    """
    counts = count(record.signal_mv)
    rows = {name: row for row, name in enumerate(record.leads) if name in terms.LEADS}
    made = []
    for name in sorted(rows, key=terms.LEADS.__getitem__):
        row = rows[name]
        component: Json = {"code": terms.lead(name)}
        if record.gaps[row].all():
            component["dataAbsentReason"] = terms.absent("error", "No sample of this lead was received.")
        else:
            data = np.where(record.gaps[row], "E", counts.values[row].astype("U6"))
            component["valueSampledData"] = {
                "origin": _zero(record),
                "period": 1e3 / record.fs_hz,
                "factor": float(counts.step),
                "dimensions": 1,
                "data": " ".join(data.tolist()),
            }
        made.append(component)
    return made


def _zero(record: Record) -> Json:
    """Return what the count 0 stands for; the unit belongs to all samples."""
    if record.amplitude == "calibrated":
        return terms.quantity(0, "mV", "mV")
    return {"value": 0, "unit": f"{record.amplitude}, not millivolts"}
