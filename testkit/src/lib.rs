//! Hostile host, in-process node, evidence generator; never published.
