"""The rules of sharing as the fake target keeps them: who holds what, and who may do what."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import count

from tuner.errors import AlreadyExists, NotAllowed, NotFound, RequestRefused
from tuner.types import Grant, GranteeType, Permission, Role

ORDER = (Role.READER, Role.WRITER, Role.OWNER)
_numbers = count()


@dataclass
class Shares:
    """The permissions of one tuned model, by name."""

    tuned_model: str
    held: dict[str, Permission]

    def hold(self, grant: Grant) -> Permission:
        """One permission more, with a name that was never used."""
        permission = Permission(f"{self.tuned_model}/permissions/p{next(_numbers)}", grant)
        self.held[permission.name] = permission
        return permission

    def role(self, email_address: str) -> Role | None:
        """What somebody may do, by a permission of their own or by everyone's."""
        mine = self.of(Grant(Role.READER, email_address=email_address))
        found = mine or self.of(Grant(Role.READER, GranteeType.EVERYONE))
        return found.grant.role if found else None

    def of(self, grant: Grant) -> Permission | None:
        """The permission of a grant's grantee."""
        same = (each for each in self.held.values() if each.grant.grantee == grant.grantee)
        return next(same, None)

    def need(self, email_address: str, role: Role, verb: str) -> None:
        """Raise NotAllowed for who has a lesser role."""
        mine = self.role(email_address)
        if mine is None or ORDER.index(mine) < ORDER.index(role):
            raise NotAllowed(f"{email_address} may not {verb} {self.tuned_model}")

    def add(self, grant: Grant) -> Permission:
        """Create a permission."""
        check_role(grant.role)
        if self.of(grant):
            raise AlreadyExists(f"{grant} has a permission on {self.tuned_model} already")
        return self.hold(grant)

    def change(self, name: str, role: Role) -> Permission:
        """Give a permission another role."""
        found = self.changeable(name)
        check_role(role)
        self.held[name] = found._replace(grant=replace(found.grant, role=role))
        return self.held[name]

    def changeable(self, name: str) -> Permission:
        """A permission that is there and is not the owner's."""
        if name not in self.held:
            raise NotFound(f"there is no {name}")
        check_role(self.held[name].grant.role)
        return self.held[name]

    def transfer(self, old_owner: str, email_address: str) -> None:
        """Make somebody the owner, and the old owner a writer."""
        mine = self.of(Grant(Role.OWNER, email_address=old_owner))
        new = Grant(Role.OWNER, email_address=email_address)
        if mine is None or mine.grant.grantee == new.grantee:
            raise RequestRefused(f"{email_address} owns {self.tuned_model} already")
        self.held[mine.name] = mine._replace(grant=replace(mine.grant, role=Role.WRITER))
        theirs = self.of(new) or self.hold(new)
        self.held[theirs.name] = theirs._replace(grant=new)


def check_role(role: Role) -> None:
    """Ownership is neither granted nor taken away."""
    if role is Role.OWNER:
        raise RequestRefused("ownership changes by a transfer only")


def model_of(permission: str) -> str:
    """The tuned model that a permission's name begins with."""
    return permission.rpartition("/permissions/")[0]
