//! Raw HTTP requests: status codes, reasons and the relevant parts of the answers.
