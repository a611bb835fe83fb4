//! Digest authentication (RFC 7616, RFC 8760): what a registrar asks of its telephones, and what a carrier asks of us.
