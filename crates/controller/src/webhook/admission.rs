//! What a pod that is being created is told. No I/O: a review is answered from what is known already.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use imagecache_core::matching::{Decision, Unusable};
use imagecache_core::{CacheId, CacheProvider, Clock, ImageRef, Otherwise, PodRequest, PodWish};
use imagecache_k8s_api::Effects;
use imagecache_k8s_api::pod::{self, ContainerView, PodView};
use tracing::warn;

use super::patch::patch;
use super::review::{self, Answer, Question};
use crate::catalog::Catalog;
use crate::kubernetes::{Metrics, Profiles};

/// Where the cluster's own pods are, which must start whatever we do.
pub(crate) const SYSTEM_NAMESPACE: &str = "kube-system";
/// Label of reviews about pods that speak no dialect.
const NO_DIALECT: &str = "none";

/// Answers reviews.
pub(super) struct Admission {
    pub(super) catalog: Arc<Catalog>,
    pub(super) profiles: Arc<Profiles>,
    pub(super) provider: Arc<dyn CacheProvider>,
    /// The dialect of the provider's own cloud.
    pub(super) native: Option<&'static str>,
    /// Our own namespace, if we run in one: the controller's pods must start without it.
    pub(super) own_namespace: Option<String>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: Clock,
}

/// What became of a pod; a label of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// It uses a cache.
    Bound,
    /// No cache suits it.
    Missed,
    /// It starts, but without the cache that it named.
    Unusable,
    /// It may not start.
    Refused,
    /// It asks for nothing, or is none of ours.
    Untouched,
    /// It asks before the caches and the cluster's profiles are known.
    NotLoaded,
    /// What it says cannot be understood.
    Invalid,
    /// We failed.
    Error,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Bound => "bound",
            Self::Missed => "missed",
            Self::Unusable => "unusable",
            Self::Refused => "refused",
            Self::Untouched => "untouched",
            Self::NotLoaded => "not_loaded",
            Self::Invalid => "invalid",
            Self::Error => "error",
        }
    }
}

/// What became of a pod, and what is said about it.
struct Verdict {
    dialect: &'static str,
    outcome: Outcome,
    answer: Answer,
}

impl Verdict {
    fn new(outcome: Outcome) -> Self {
        Self {
            dialect: NO_DIALECT,
            outcome,
            answer: Answer::default(),
        }
    }

    fn warned(self, warning: String) -> Self {
        let warnings = vec![warning];
        let answer = Answer {
            warnings,
            ..self.answer
        };
        Self { answer, ..self }
    }
}

impl Admission {
    /// Answers a review, given and returned as JSON.
    ///
    /// Whatever goes wrong with a pod lets it through as it is: no mistake of ours stops one.
    ///
    /// # Errors
    ///
    /// When the body is no review, so that there is nothing to answer.
    pub(super) fn review(&self, body: &[u8]) -> Result<Vec<u8>, String> {
        let question = review::question(body).inspect_err(|problem| {
            self.metrics.reviewed(NO_DIALECT, Outcome::Error.as_str());
            warn!(problem, "an admission review cannot be read");
        })?;
        // The catalog is only read, so a panic leaves nothing half done.
        let verdict = catch_unwind(AssertUnwindSafe(|| self.judge(&question))).unwrap_or_else(|_| {
            warn!(
                namespace = question.namespace,
                uid = question.uid,
                "a review failed, the pod starts as it is"
            );
            Verdict::new(Outcome::Error)
        });
        self.metrics.reviewed(verdict.dialect, verdict.outcome.as_str());
        review::response(&question.uid, &verdict.answer).map_err(|_| "the answer cannot be written".to_owned())
    }

    fn judge(&self, question: &Question<'_>) -> Verdict {
        let Some(object) = question.object.filter(|_| self.concerns(question)) else {
            return Verdict::new(Outcome::Untouched);
        };
        let Ok(mut pod) = serde_json::from_str::<PodView>(object.get()) else {
            return Verdict::new(Outcome::Untouched);
        };
        if pod::opts_out(&pod) {
            return Verdict::new(Outcome::Untouched);
        }
        if !self.catalog.is_loaded() || !self.profiles.is_read() {
            return Verdict::new(Outcome::NotLoaded);
        }
        // The object may lack it: the API server fills it in later.
        pod.metadata.namespace.clone_from(&question.namespace);
        let mut wanted = self.profiles.effects(&pod);
        wanted.apply(&mut pod);
        let mut verdict = self.decide(&pod, &mut wanted);
        if verdict.answer.refusal.is_none() && !wanted.is_empty() && !wanted.fit(&pod.metadata) {
            let warning = "no image cache is used: the pod's annotations are as large as Kubernetes takes them";
            return Verdict::new(Outcome::Untouched).warned(warning.to_owned());
        }
        if verdict.answer.refusal.is_none() {
            match patch(object.get(), &wanted) {
                Some(patch) => verdict.answer.patch = patch,
                None => return Verdict::new(Outcome::Untouched),
            }
        }
        verdict
    }

    /// What becomes of `pod`; what its cache needs goes to `wanted`.
    fn decide(&self, pod: &PodView, wanted: &mut Effects) -> Verdict {
        let request = match pod::request(pod, self.native) {
            Ok(Some(request)) => request,
            Ok(None) => return Verdict::new(Outcome::Untouched),
            Err(problem) => {
                return Verdict::new(Outcome::Invalid).warned(format!("no image cache is used: {problem}"));
            }
        };
        let verdict = |outcome| Verdict {
            dialect: request.dialect,
            ..Verdict::new(outcome)
        };
        match self.catalog.decide(&request, (self.clock)()) {
            Decision::Use { id, .. } => {
                wanted.annotations.extend(self.provider.bind(&id).annotations);
                let warnings = self.pulls_anyway(pod, &request, &id);
                let answer = Answer {
                    warnings,
                    ..Answer::default()
                };
                Verdict {
                    answer,
                    ..verdict(Outcome::Bound)
                }
            }
            Decision::Miss => verdict(Outcome::Missed),
            // The cloud may have caches that were not made by us, and judges its own annotation itself.
            Decision::Unusable {
                why: Unusable::Unknown, ..
            } if self.native == Some(request.dialect) => verdict(Outcome::Unusable),
            Decision::Unusable {
                id,
                why,
                otherwise: Otherwise::Refuse,
            } => {
                let message =
                    format!("image cache `{id}`, which the pod names, cannot be used: {why}; name one that is Ready");
                let answer = Answer {
                    refusal: Some(message),
                    ..Answer::default()
                };
                Verdict {
                    answer,
                    ..verdict(Outcome::Refused)
                }
            }
            Decision::Unusable {
                id,
                why,
                otherwise: Otherwise::Pull,
            } => verdict(Outcome::Unusable).warned(format!(
                "image cache `{id}` cannot be used, the images are pulled: {why}"
            )),
        }
    }

    /// Whether the question is about a pod that we may change.
    fn concerns(&self, question: &Question<'_>) -> bool {
        let kind = &question.kind;
        let own = self.own_namespace.as_deref() == Some(question.namespace.as_str());
        (kind.group.as_str(), kind.version.as_str(), kind.kind.as_str()) == ("", "v1", "Pod")
            && question.operation == "CREATE"
            && question.sub_resource.is_empty()
            && question.namespace != SYSTEM_NAMESPACE
            && !own
    }

    /// One warning for each container whose image the cache `id` holds, but which asks the registry all the same.
    fn pulls_anyway(&self, pod: &PodView, request: &PodRequest, id: &CacheId) -> Vec<String> {
        let containers = pod.spec.init_containers.iter().chain(&pod.spec.containers);
        let always = containers.filter(|container| container.image_pull_policy == "Always");
        always
            .filter(|container| self.holds(container, request, id))
            .map(|container| {
                format!(
                    "container `{}`: imagePullPolicy Always asks the registry for an image that image cache `{id}` holds; \
                     IfNotPresent starts from the cache alone",
                    container.name
                )
            })
            .collect()
    }

    fn holds(&self, container: &ContainerView, request: &PodRequest, id: &CacheId) -> bool {
        let Ok(image) = ImageRef::parse(&container.image) else {
            return false;
        };
        let alone = PodRequest {
            images: vec![image],
            uncounted: Vec::new(),
            wish: PodWish::Named {
                id: id.to_string(),
                otherwise: Otherwise::Pull,
            },
            ..request.clone()
        };
        let decision = self.catalog.decide(&alone, (self.clock)());
        matches!(decision, Decision::Use { degree, .. } if degree.full == 1)
    }
}
