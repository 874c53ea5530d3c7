//! Whether somebody may have an image that is not for everyone: their registry says so, or said so a while ago.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::future::BoxFuture;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::HeaderValue;
use imagecache_core::{Digest, ImageRef, Secret};
use sha2::Sha256;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

/// How long a registry's yes is taken without asking it again: a start asks for several documents of one image.
const FRESH: Duration = Duration::from_secs(30);
/// How long it counts while the registry cannot be reached. The passwords of cloud registries live about as long.
const REMEMBERED: Duration = Duration::from_secs(12 * 60 * 60);
/// How long a registry may take to answer; containerd waits meanwhile.
const PATIENCE: Duration = Duration::from_secs(5);
/// Questions to registries at a time, so that this is no way to try passwords quickly.
const MAX_QUESTIONS: usize = 4;
/// Logins that are remembered; the oldest makes room.
const MAX_REMEMBERED: usize = 4096;

/// User name and password of one request.
#[derive(Clone, Debug)]
pub struct Login {
    /// The user.
    pub username: String,
    /// The password, or a token that serves as one.
    pub password: Secret<String>,
}

impl Login {
    /// Reads an `Authorization` header of the scheme `Basic`.
    pub(super) fn parse(header: &HeaderValue) -> Option<Self> {
        let (scheme, encoded) = header.to_str().ok()?.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
        let (username, password) = decoded.split_once(':')?;
        Some(Self {
            username: username.to_owned(),
            password: Secret::new(password.to_owned()),
        })
    }
}

/// What a registry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// They may have it.
    Granted,
    /// They may not, or there is no such thing.
    Refused,
    /// It did not say.
    Unknown,
}

/// Asks registries.
pub trait Upstream: Send + Sync + 'static {
    /// Whether the registry of `image` gives `manifest` to whoever has `login`.
    fn may_read(&self, image: ImageRef, manifest: Digest, login: Login) -> BoxFuture<'static, Permission>;
}

type Fingerprint = [u8; 32];

/// Decides, and remembers what it must: neither passwords nor anything that they could be guessed from outside this process.
pub(super) struct Gate {
    upstream: Arc<dyn Upstream>,
    /// Made for this process; without it a fingerprint says nothing.
    key: Option<Secret<[u8; 32]>>,
    granted: Mutex<HashMap<Fingerprint, Instant>>,
    questions: Semaphore,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").finish_non_exhaustive()
    }
}

impl Gate {
    pub(super) fn new(upstream: Arc<dyn Upstream>) -> Self {
        let mut key = [0; 32];
        Self {
            upstream,
            // A machine without randomness remembers nothing.
            key: getrandom::fill(&mut key).is_ok().then(|| Secret::new(key)),
            granted: Mutex::default(),
            questions: Semaphore::new(MAX_QUESTIONS),
        }
    }

    /// Whether whoever has `login` may have `manifest`, which is of this image's repository, and what belongs to it.
    pub(super) async fn admits(&self, image: &ImageRef, manifest: &Digest, login: &Login) -> bool {
        let fingerprint = self.fingerprint(image, login);
        if self.was_granted_within(fingerprint, FRESH) {
            return true;
        }
        let question = async {
            let _permit = self.questions.acquire().await;
            self.upstream
                .may_read(image.clone(), manifest.clone(), login.clone())
                .await
        };
        match timeout(PATIENCE, question).await {
            Ok(Permission::Granted) => {
                self.remember(fingerprint);
                true
            }
            Ok(Permission::Refused) => {
                fingerprint.map(|fingerprint| self.granted().remove(&fingerprint));
                false
            }
            Ok(Permission::Unknown) | Err(_) => self.was_granted_within(fingerprint, REMEMBERED),
        }
    }

    fn was_granted_within(&self, fingerprint: Option<Fingerprint>, limit: Duration) -> bool {
        let granted = self.granted();
        let at = fingerprint.and_then(|fingerprint| granted.get(&fingerprint));
        at.is_some_and(|at| at.elapsed() < limit)
    }

    fn remember(&self, fingerprint: Option<Fingerprint>) {
        let Some(fingerprint) = fingerprint else { return };
        let mut granted = self.granted();
        granted.retain(|_, at| at.elapsed() < REMEMBERED);
        if granted.len() >= MAX_REMEMBERED
            && let Some(oldest) = granted.iter().min_by_key(|(_, at)| **at).map(|(oldest, _)| *oldest)
        {
            granted.remove(&oldest);
        }
        granted.insert(fingerprint, Instant::now());
    }

    /// Registries give rights by repository, so that is what a login is remembered for.
    fn fingerprint(&self, image: &ImageRef, login: &Login) -> Option<Fingerprint> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.key.as_ref()?.expose()).ok()?;
        for field in [
            image.registry(),
            image.repository(),
            &login.username,
            login.password.expose(),
        ] {
            // With its length, so that no two rows of fields look alike.
            mac.update(&(field.len() as u64).to_be_bytes());
            mac.update(field.as_bytes());
        }
        Some(mac.finalize().into_bytes().into())
    }

    fn granted(&self) -> MutexGuard<'_, HashMap<Fingerprint, Instant>> {
        self.granted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Says what it was last told to say.
    struct Scripted {
        says: Mutex<Option<Permission>>,
        asked: AtomicUsize,
    }

    impl Upstream for Scripted {
        fn may_read(&self, _: ImageRef, _: Digest, _: Login) -> BoxFuture<'static, Permission> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            match *self.says.lock().unwrap() {
                Some(permission) => Box::pin(async move { permission }),
                None => Box::pin(std::future::pending()),
            }
        }
    }

    fn login(password: &str) -> Login {
        Login {
            username: "u".to_owned(),
            password: Secret::new(password.to_owned()),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_yes_is_remembered_for_a_while_and_a_no_ends_it() {
        let upstream = Arc::new(Scripted {
            says: Mutex::new(Some(Permission::Unknown)),
            asked: AtomicUsize::new(0),
        });
        let gate = Gate::new(Arc::clone(&upstream) as Arc<dyn Upstream>);
        let image = ImageRef::parse("r.io/a:1").unwrap();
        let other = ImageRef::parse("r.io/b:1").unwrap();
        let digest = Digest::sha256_of(b"x");
        let say = |permission| *upstream.says.lock().unwrap() = permission;
        assert!(!gate.admits(&image, &digest, &login("p")).await, "never seen");
        say(Some(Permission::Granted));
        assert!(gate.admits(&image, &digest, &login("p")).await);
        let asked = upstream.asked.load(Ordering::Relaxed);
        assert!(gate.admits(&image, &digest, &login("p")).await);
        assert_eq!(
            upstream.asked.load(Ordering::Relaxed),
            asked,
            "asked twice in one start"
        );
        for silence in [Some(Permission::Unknown), None] {
            say(silence);
            tokio::time::advance(FRESH).await;
            assert!(
                gate.admits(&image, &digest, &login("p")).await,
                "remembered, {silence:?}"
            );
            assert!(
                !gate.admits(&image, &digest, &login("q")).await,
                "another password, {silence:?}"
            );
            assert!(
                !gate.admits(&other, &digest, &login("p")).await,
                "another repository, {silence:?}"
            );
        }
        tokio::time::advance(REMEMBERED).await;
        assert!(!gate.admits(&image, &digest, &login("p")).await, "too long ago");
        say(Some(Permission::Granted));
        assert!(gate.admits(&image, &digest, &login("p")).await);
        tokio::time::advance(FRESH).await;
        say(Some(Permission::Refused));
        assert!(!gate.admits(&image, &digest, &login("p")).await, "taken away");
        say(Some(Permission::Unknown));
        assert!(!gate.admits(&image, &digest, &login("p")).await, "and forgotten");
    }

    #[test]
    fn only_basic_logins_are_read_and_none_is_shown() {
        for (header, expected) in [
            ("Basic dTpodW50ZXIy", Some("u")),
            ("basic dTpodW50ZXIy", Some("u")),
            ("Bearer dTpodW50ZXIy", None),
            ("Basic dQ==", None),
            ("Basic !", None),
            ("Basic", None),
        ] {
            let login = Login::parse(&HeaderValue::from_static(header));
            assert_eq!(
                login.as_ref().map(|login| login.username.as_str()),
                expected,
                "{header}"
            );
            assert!(!format!("{login:?}").contains("hunter2"));
        }
    }

    #[test]
    fn no_more_than_so_many_are_remembered() {
        let upstream = Scripted {
            says: Mutex::new(None),
            asked: AtomicUsize::new(0),
        };
        let gate = Gate::new(Arc::new(upstream));
        let image = ImageRef::parse("r.io/a:1").unwrap();
        for number in 0..MAX_REMEMBERED + 10 {
            gate.remember(gate.fingerprint(&image, &login(&number.to_string())));
        }
        assert_eq!(gate.granted().len(), MAX_REMEMBERED);
    }
}
