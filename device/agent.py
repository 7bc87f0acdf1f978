"""The pairing agent as it stands on the bus; `lsemvae_edge.device.bluez` registers it. Needs dbus-fast, so Linux alone.

Methods and errors are those of ``org.bluez.Agent1`` (BlueZ, ``doc/org.bluez.Agent.rst``).
"""

from dbus_fast.annotations import DBusObjectPath, DBusStr, DBusUInt16, DBusUInt32
from dbus_fast.errors import DBusError
from dbus_fast.service import ServiceInterface, dbus_method

PATH = "/org/lsemvae_edge/agent"
CAPABILITY = "NoInputNoOutput"
"""Nobody stands at a kiosk to compare or type numbers, so Just Works is the only way of pairing it has."""

_REJECTED = "org.bluez.Error.Rejected"


def address_of(device: str) -> str:
    """Return the address in a device's object path, as ``AA:BB:CC:DD:EE:FF``."""
    return device.rpartition("/dev_")[2].replace("_", ":")


class Agent(ServiceInterface):
    """Says yes to one device, and no to everything else.

    Parameters
    ----------
    address : str
        The device that may pair.
    """

    def __init__(self, address: str) -> None:
        super().__init__("org.bluez.Agent1")
        self.address = address.upper()
        self.refused = 0
        """Requests that were turned down."""

    @dbus_method()
    def RequestAuthorization(self, device: DBusObjectPath) -> None:  # noqa: N802  # the bus's names
        """Allow Just Works with the one device."""
        if address_of(device) != self.address:
            self._refuse("this device is not being enrolled")

    @dbus_method()
    def RequestConfirmation(self, device: DBusObjectPath, passkey: DBusUInt32) -> None:  # noqa: N802
        """Refuse: nobody compares the numbers."""
        self._refuse("nobody is here to compare numbers")

    @dbus_method()
    def RequestPinCode(self, device: DBusObjectPath) -> DBusStr:  # noqa: N802
        """Refuse: there is no keyboard."""
        self._refuse("there is no keyboard")
        return ""

    @dbus_method()
    def RequestPasskey(self, device: DBusObjectPath) -> DBusUInt32:  # noqa: N802
        """Refuse: there is no keyboard."""
        self._refuse("there is no keyboard")
        return 0

    @dbus_method()
    def DisplayPinCode(self, device: DBusObjectPath, pincode: DBusStr) -> None:  # noqa: N802
        """Refuse: nobody would read it."""
        self._refuse("there is no display for it")

    @dbus_method()
    def DisplayPasskey(  # noqa: N802
        self, device: DBusObjectPath, passkey: DBusUInt32, entered: DBusUInt16
    ) -> None:
        """Refuse: nobody would read it."""
        self._refuse("there is no display for it")

    @dbus_method()
    def AuthorizeService(self, device: DBusObjectPath, uuid: DBusStr) -> None:  # noqa: N802
        """Refuse: nothing here is offered to others."""
        self._refuse("no service is offered")

    @dbus_method()
    def Cancel(self) -> None:  # noqa: N802
        """Take notice that a request was withdrawn; none is ever pending."""

    @dbus_method()
    def Release(self) -> None:  # noqa: N802
        """Take notice that the daemon let go of this agent."""

    def _refuse(self, why: str) -> None:
        self.refused += 1
        raise DBusError(_REJECTED, why)
