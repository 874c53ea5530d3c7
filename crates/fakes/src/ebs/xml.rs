//! As much XML as EC2's answers need.

/// Errors of EC2 have no namespace.
pub(crate) const NAMESPACE_FREE: &str = "";

/// An element with either text or children.
#[derive(Debug)]
pub(crate) struct Element {
    name: &'static str,
    text: String,
    children: Vec<Element>,
}

impl Element {
    pub(crate) fn text(name: &'static str, text: &str) -> Self {
        Self {
            name,
            text: escape(text),
            children: Vec::new(),
        }
    }

    pub(crate) fn parent(name: &'static str) -> Self {
        Self::text(name, "")
    }

    #[must_use]
    pub(crate) fn with(mut self, child: Self) -> Self {
        self.children.push(child);
        self
    }

    #[must_use]
    pub(crate) fn with_all(mut self, children: impl IntoIterator<Item = Self>) -> Self {
        self.children.extend(children);
        self
    }

    /// The whole document.
    pub(crate) fn document(&self, namespace: &str) -> String {
        let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        match namespace {
            NAMESPACE_FREE => self.write(&mut text, ""),
            namespace => self.write(&mut text, &format!(" xmlns=\"{namespace}\"")),
        }
        text
    }

    fn write(&self, text: &mut String, attributes: &str) {
        if self.text.is_empty() && self.children.is_empty() {
            text.push_str(&format!("<{}{attributes}/>", self.name));
            return;
        }
        text.push_str(&format!("<{}{attributes}>{}", self.name, self.text));
        for child in &self.children {
            child.write(text, "");
        }
        text.push_str(&format!("</{}>", self.name));
    }
}

fn escape(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('"', "&quot;")
}
