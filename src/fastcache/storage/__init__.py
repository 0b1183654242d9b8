"""The cache directory: immutable extents and head records behind one façade, :class:`fastcache.storage.store.Store`."""
