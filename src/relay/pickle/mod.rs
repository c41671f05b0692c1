//! Pickles as data: they are read and never run.
