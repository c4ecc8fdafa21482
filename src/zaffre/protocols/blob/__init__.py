"""Azure Blob's REST protocol on our own storage: block blobs, containers, SAS, Shared Key and bearer tokens.

Written after the Azure Storage REST reference and what azure-storage-blob, azure-ai-ml and mlflow send (wire.md §7).
Operations and headers that are not served are answered 501, never ignored where ignoring would change the meaning.
"""

from zaffre.protocols.blob.mounted import mount, operations

__all__ = ["mount", "operations"]
