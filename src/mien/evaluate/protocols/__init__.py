"""Protocols: what is compared with what, by whose rules. Each reads its layout, checks it, and says what it left out.

A protocol gives a set (`sets.py`): pictures, which are embedded once, and who is compared with whom by their numbers.
"""

from mien.evaluate.protocols.cfp import CfpPart, CfpProtocol
from mien.evaluate.protocols.detection import FddbProtocol, WiderProtocol
from mien.evaluate.protocols.folder import FolderProtocol
from mien.evaluate.protocols.ijb import IjbProtocol, InsightFaceIjb
from mien.evaluate.protocols.imglab import ImglabProtocol
from mien.evaluate.protocols.insightface import InsightFaceProtocol
from mien.evaluate.protocols.lfw import LfwPairs, LfwPeople
from mien.evaluate.protocols.megaface import MegafaceProtocol
from mien.evaluate.protocols.pairing import Missing
from mien.evaluate.protocols.pictures import FolderPictures, Picture
from mien.evaluate.protocols.pooling import pool_templates
from mien.evaluate.protocols.sets import (
    DetectionSet,
    Exclusion,
    IdentificationSet,
    PairSet,
    Scheme,
    SubjectSet,
    Templates,
    TemplateSet,
)
from mien.evaluate.protocols.ytf import YtfProtocol

__all__ = [
    "CfpPart",
    "CfpProtocol",
    "DetectionSet",
    "Exclusion",
    "FddbProtocol",
    "FolderPictures",
    "FolderProtocol",
    "IdentificationSet",
    "IjbProtocol",
    "ImglabProtocol",
    "InsightFaceIjb",
    "InsightFaceProtocol",
    "LfwPairs",
    "LfwPeople",
    "MegafaceProtocol",
    "Missing",
    "PairSet",
    "Picture",
    "Scheme",
    "SubjectSet",
    "TemplateSet",
    "Templates",
    "WiderProtocol",
    "YtfProtocol",
    "pool_templates",
]
