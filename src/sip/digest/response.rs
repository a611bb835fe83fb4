//! What proves that one knows the password (RFC 7616, section 3.4.1).

use super::ha1::Ha1;

/// What goes into a response beside the secret, each as it stands in the header.
pub(super) struct Proof<'a> {
    pub(super) method: &'a str,
    pub(super) uri: &'a str,
    pub(super) nonce: &'a str,
    /// Not of old clients (RFC 2069).
    pub(super) counted: Option<Counted<'a>>,
}

/// What `qop` brings with it.
#[derive(Clone, Copy)]
pub(super) struct Counted<'a> {
    pub(super) nc: &'a str,
    pub(super) cnonce: &'a str,
    pub(super) qop: &'a str,
}

impl Proof<'_> {
    /// In small hexadecimal digits.
    pub(super) fn response(&self, ha1: &Ha1) -> String {
        let algorithm = ha1.algorithm();
        let ha2 = algorithm.hash(&[self.method, self.uri]);
        match &self.counted {
            Some(Counted { nc, cnonce, qop }) => algorithm.hash(&[ha1.hex(), self.nonce, nc, cnonce, qop, &ha2]),
            None => algorithm.hash(&[ha1.hex(), self.nonce, &ha2]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::algorithm::Algorithm;
    use super::*;

    /// RFC 7616, section 3.9.1.
    #[test]
    fn the_examples_of_rfc_7616() {
        let proof = Proof {
            method: "GET",
            uri: "/dir/index.html",
            nonce: "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
            counted: Some(Counted {
                nc: "00000001",
                cnonce: "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
                qop: "auth",
            }),
        };
        for (algorithm, response) in [
            (Algorithm::Md5, "8ca523f5e9506fed4657c9700eebdbec"),
            (
                Algorithm::Sha256,
                "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
            ),
        ] {
            let ha1 = Ha1::of(algorithm, "Mufasa", "http-auth@example.org", "Circle of Life");
            assert_eq!(proof.response(&ha1), response);
        }
    }

    /// RFC 2617, section 3.5, and the same without `qop`, as the errata to RFC 2069 has it.
    #[test]
    fn the_examples_of_rfc_2617_and_rfc_2069() {
        let proof = |counted| Proof {
            method: "GET",
            uri: "/dir/index.html",
            nonce: "dcd98b7102dd2f0e8b11d0f600bfb0c093",
            counted,
        };
        let counted = Counted {
            nc: "00000001",
            cnonce: "0a4f113b",
            qop: "auth",
        };
        let ha1 = |password| Ha1::of(Algorithm::Md5, "Mufasa", "testrealm@host.com", password);
        let response = proof(Some(counted)).response(&ha1("Circle Of Life"));
        assert_eq!(response, "6629fae49393a05397450978507c4ef1");
        let response = proof(None).response(&ha1("CircleOfLife"));
        assert_eq!(response, "1949323746fe6a43ef61f9606e7febea");
    }

    /// The INVITE of draft-smith-sipping-auth-examples-01, sections 3.1 and 3.3: RFC 3261 has its names and no secret.
    #[test]
    fn the_examples_of_sip() {
        let ha1 = Ha1::of(Algorithm::Md5, "bob", "biloxi.com", "zanzibar");
        let proof = |counted| Proof {
            method: "INVITE",
            uri: "sip:bob@biloxi.com",
            nonce: "dcd98b7102dd2f0e8b11d0f600bfb0c093",
            counted,
        };
        let counted = Counted {
            nc: "00000001",
            cnonce: "0a4f113b",
            qop: "auth",
        };
        assert_eq!(proof(None).response(&ha1), "bf57e4e0d0bffc0fbaedce64d59add5e");
        assert_eq!(proof(Some(counted)).response(&ha1), "89eb0059246c02b2f6ee02c7961d5ea3");
    }
}
