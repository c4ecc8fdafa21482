"""Backups of a home, taken while its server works, and homes made from them.

    <target>/zaffre-backup.json        says that the folder is ours
    <target>/objects/                  stored bytes as the home has them, shared by all snapshots
    <target>/snapshots/<time>/         the database, keys and settings of one moment, objects.txt and manifest.json

A snapshot is whole when it has that name: until then it is a hidden folder, which the next backup replaces; objects that
were copied by then are not copied again. Nothing here needs a running server, nor minds one: the database is copied at
one moment, and the bytes it names cannot go while `objects/keep.lock` is held.
"""

from zaffre.backup.layout import BackupError, Manifest, Target
from zaffre.backup.restoring import restore
from zaffre.backup.taking import back_up

__all__ = ["BackupError", "Manifest", "Target", "back_up", "restore"]
