//! Descriptions of sessions (RFC 8866), offered and answered (RFC 3264).
