"""Nothing that tells of a person lies in the folder in clear."""

import numpy as np

from lsemvae_edge.store import Store


def folder_bytes(store):
    return b"".join(path.read_bytes() for path in sorted(store.folder.rglob("*")) if path.is_file())


def test_no_id_operator_wave_or_result_is_in_any_file(store, key, make_attempt, make_visit, make_record):
    record = make_record(seed=5)
    visit = make_visit(operator="opGEHEIM", note="camewithmother")
    journal = store.journal(visit, 1)
    journal.write(record.signal_mv.tobytes())
    seq = store.append(make_attempt(visit, 1, seed=5)).seq
    store.journal(visit, 2).write(b"camewithmother" + record.signal_mv.tobytes())
    store.amend(seq, study_id="NEWID77777", reason="typedwrong", operator="opGEHEIM")
    store.over_read(seq, {"rhythm": "atrialflutter"}, operator="drGEHEIM")
    store.note("sign_in", {"from": "waitingscreen"}, operator="opGEHEIM")
    samples = np.ascontiguousarray(record.signal_mv, "<f4").tobytes()
    known = [
        *(text.encode() for text in (visit.study_id, visit.id, "NEWID77777", "GEHEIM", "camewithmother", "typedwrong")),
        *(text.encode() for text in ("atrialflutter", "waitingscreen", "not_present", "Pattern", "Testbox", "rec-5")),
        *(samples[at : at + 12] for at in range(0, len(samples) - 12, 400)),
        key.secret[:12],
    ]
    for moment in ("open, with its log", "closed"):
        content = folder_bytes(store)
        assert len(content) > len(samples) // 2
        assert not [word for word in known if word in content], moment
        store.close()
    with Store.open(store.folder, key) as again:
        assert again.read(seq).attempt.record.signal_mv.tobytes() == record.signal_mv.tobytes()
