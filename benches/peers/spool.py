"""This crate, each commit synced, and without a sync."""

from in_process import InProcess


class Spool(InProcess):
    name, mode = "this crate", "sync"


class SpoolUnsynced(InProcess):
    name, mode = "this crate, unsynced", "process"
