"""The one place that knows SQL, the object store's layout and how secrets are sealed."""
