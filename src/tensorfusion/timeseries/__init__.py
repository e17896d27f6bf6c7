"""Every number of the product on its way to a time-series store, and back: line protocol, writer, store, SQL."""
