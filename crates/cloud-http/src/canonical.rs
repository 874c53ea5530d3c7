//! The canonical form of a request, which both sides of a signature compute.

/// A request before it is signed.
#[derive(Clone, Debug)]
pub struct Unsigned<'a> {
    /// `POST` or `GET`.
    pub method: &'a str,
    /// Path of the URL; `/` for an RPC call.
    pub path: &'a str,
    /// The query, in the form that is signed.
    pub query: &'a str,
    /// The headers to sign, in any order. Names in lower case, values as the vendor wants them signed.
    pub headers: &'a [(&'static str, String)],
    /// SHA-256 of the body.
    pub payload_hash: &'a str,
}

impl Unsigned<'_> {
    /// The request in the one form that both sides compute.
    pub fn canonical(&self) -> String {
        let headers: String = self
            .sorted()
            .iter()
            .map(|(name, value)| format!("{name}:{}\n", value.trim()))
            .collect();
        let parts = [
            self.method,
            self.path,
            self.query,
            &headers,
            &self.signed_headers(),
            self.payload_hash,
        ];
        parts.join("\n")
    }

    /// The names of the headers that are signed.
    pub fn signed_headers(&self) -> String {
        let names: Vec<&str> = self.sorted().iter().map(|(name, _)| *name).collect();
        names.join(";")
    }

    fn sorted(&self) -> Vec<&(&'static str, String)> {
        let mut headers: Vec<_> = self.headers.iter().collect();
        headers.sort();
        headers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_values_are_trimmed_and_names_sorted() {
        let headers = [("x-date", " padded ".to_owned()), ("host", "h".to_owned())];
        let request = Unsigned {
            method: "POST",
            path: "/",
            query: "",
            headers: &headers,
            payload_hash: "p",
        };
        assert_eq!(
            request.canonical(),
            "POST\n/\n\nhost:h\nx-date:padded\n\nhost;x-date\np"
        );
    }
}
