"""Tools for tests, public: virtual clock, fake API, traces, a real control plane."""
