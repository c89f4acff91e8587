//! A client for CRIU's RPC: one `criu swrk` process, typed requests, typed notifications.
