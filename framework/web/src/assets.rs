//! The style sheet, the script and the icon, which browsers keep.

use std::hash::{Hash, Hasher};
use std::sync::LazyLock;

use bytes::Bytes;
use framework_server::server::{PageBody, PageResponse};
use rustc_hash::FxHasher;

/// A file that never changes under its address.
pub(crate) struct Asset {
    name: &'static str,
    media_type: &'static str,
    content: &'static str,
}

pub(crate) const STYLE: Asset = Asset {
    name: "style.css",
    media_type: "text/css; charset=utf-8",
    content: include_str!("../assets/style.css"),
};
pub(crate) const SCRIPT: Asset = Asset {
    name: "script.js",
    media_type: "text/javascript; charset=utf-8",
    content: include_str!("../assets/script.js"),
};
pub(crate) const ICON: Asset =
    Asset { name: "icon.svg", media_type: "image/svg+xml", content: include_str!("../assets/icon.svg") };

impl Asset {
    /// Its address below the folder of the pages; another one for each version of the assets.
    pub(crate) fn address(&self) -> String {
        format!("{}?v={}", self.name, &**VERSION)
    }
}

static VERSION: LazyLock<String> = LazyLock::new(|| {
    let mut hasher = FxHasher::default();
    [STYLE, SCRIPT, ICON].map(|asset| asset.content).hash(&mut hasher);
    format!("{:x}", hasher.finish())
});

/// The file at this path, if there is one.
pub(crate) fn find(path: &str) -> Option<PageResponse> {
    let asset = [STYLE, SCRIPT, ICON].into_iter().find(|asset| asset.name == path)?;
    Some(PageResponse {
        status: 200,
        media_type: asset.media_type,
        headers: vec![("cache-control", "public, max-age=31536000, immutable".to_owned())],
        body: PageBody::Whole(Bytes::from_static(asset.content.as_bytes())),
    })
}
