//! SDK for TEE applications: App, Context, serve.
