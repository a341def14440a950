"""The gallery's home in Milvus. Importing it is light: pymilvus is loaded when a home is opened."""

from mien.gallery.homes.milvus.home import MilvusHome

__all__ = ["MilvusHome"]
