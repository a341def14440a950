"""Encryption at rest, provable erasure, retention: what a gallery owes the people in it. See docs/privacy.md."""

from mien.gallery.privacy.erasure import erase
from mien.gallery.privacy.gallery_files import key_file_of
from mien.gallery.privacy.master import MasterKey, master_key, new_master_key
from mien.gallery.privacy.proof import Proof, prove_erased
from mien.gallery.privacy.receipt import Receipt
from mien.gallery.privacy.recovery import give_up_unreadable
from mien.gallery.privacy.retention import due, expire
from mien.gallery.privacy.sealer import EncryptedSealer

__all__ = [
    "EncryptedSealer",
    "MasterKey",
    "Proof",
    "Receipt",
    "due",
    "erase",
    "expire",
    "give_up_unreadable",
    "key_file_of",
    "master_key",
    "new_master_key",
    "prove_erased",
]
