"""`get_password` for plugins: from the source's table, else from where kitovu keeps them; it never asks anybody."""

from kitovufs_adapter import failures, streams

_WAYS = "set `password` in the source's table, or store it with `kitovufs login`"


class Passwords:
    """Takes the place of kitovu's own, which asks where nobody can answer, and stores what has not worked yet."""

    def __init__(self, utils):
        self._unauthenticated = getattr(utils, "AuthenticationError", failures.NoPassword)
        self._given = None
        utils.get_password = self.get_password

    def give(self, password):
        """What the source's table has, if it has one."""
        self._given = password
        if isinstance(password, str):
            streams.hide(password)

    def get_password(self, plugin, identifier, prompt=""):
        """The password that kitovu would use for this service."""
        if self._given is not None:
            return self._given
        service = "kitovu-{}".format(plugin)
        try:
            import keyring
        except ImportError:
            raise failures.NoPassword(
                "the plugin needs a password ({}): {} (the latter needs the module keyring in this Python)".format(
                    prompt or identifier, _WAYS
                )
            ) from None
        try:
            password = keyring.get_password(service, identifier)
        except Exception as error:
            raise self._unauthenticated(
                "the keyring cannot be read ({}: {}): {}".format(type(error).__name__, error, _WAYS)
            ) from error
        if password is None:
            raise self._unauthenticated(
                "the keyring has no password for {}, {!r}: {}".format(service, identifier, _WAYS)
            )
        streams.hide(password)
        return password
