"""What converters say."""

import logging
import sys
import warnings

from lsemvae_edge.quantize.quiet import quiet


def test_what_the_converters_say_stays_off_the_terminal(capsys, recwarn, caplog):
    with quiet():
        print("progress")
        print("start-up", file=sys.stderr)
        warnings.warn("their own affair", UserWarning, stacklevel=1)
        logging.getLogger("theirs").warning("another")
    assert capsys.readouterr() == ("", "")
    assert not recwarn.list
    assert not caplog.records
    print("ours")
    logging.getLogger("ours").warning("heard")
    assert capsys.readouterr().out == "ours\n"
    assert [record.getMessage() for record in caplog.records] == ["heard"]
