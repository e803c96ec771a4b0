//! Which deployments to try, in which order: a weighted shuffle inside the group, those that failed a
//! moment ago last, then the fallback groups. Pure but for the dice; sending is `attempt`'s.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use crate::config::snapshot::{Deployment, Match, Models, Routing};

/// How long it is remembered that a server has no `/responses`.
const CHAT_ONLY: Duration = Duration::from_secs(600);

/// One deployment to try, with the provider's name for the model filled in.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub deployment: Arc<Deployment>,
    pub model: String,
    /// Not of the group that was asked for.
    pub is_fallback: bool,
}

/// How a deployment has been doing. Lives as long as the deployment is in the configuration, across
/// reloads, so an edit elsewhere does not forget a failing host.
#[derive(Debug)]
pub struct Health {
    begun: Instant,
    /// Until then the deployment is passed over.
    cooled: Until,
    /// Until then its server, which has no `/responses`, is not asked for them.
    chat_only: Until,
    /// The models that its server last said it has.
    discovered: ArcSwap<Vec<String>>,
}

/// A time, in milliseconds after the health's beginning; 0 for none.
#[derive(Debug, Default)]
struct Until(AtomicU64);

/// Health by deployment id.
pub type Ward = HashMap<String, Arc<Health>>;

impl Default for Health {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            cooled: Until::default(),
            chat_only: Until::default(),
            discovered: ArcSwap::default(),
        }
    }
}

impl Health {
    pub fn cool_down(&self, time: Duration) {
        self.cooled.set(self.begun.elapsed() + time);
    }

    pub fn recover(&self) {
        self.cooled.clear();
    }

    pub fn is_cooling(&self) -> bool {
        self.cooled.is_after(self.begun.elapsed())
    }

    /// The server turned out to have no `/responses`. It is asked again after a while: servers get newer.
    pub fn remember_chat_only(&self) {
        self.chat_only.set(self.begun.elapsed() + CHAT_ONLY);
    }

    pub fn is_chat_only(&self) -> bool {
        self.chat_only.is_after(self.begun.elapsed())
    }

    /// The models that the server last said it has; none where it was never asked.
    pub fn discovered(&self) -> Arc<Vec<String>> {
        self.discovered.load_full()
    }

    pub fn discover(&self, models: Vec<String>) {
        self.discovered.store(Arc::new(models));
    }
}

impl Until {
    fn set(&self, time: Duration) {
        let time = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.0.store(time, Ordering::Relaxed);
    }

    fn clear(&self) {
        if self.0.load(Ordering::Relaxed) != 0 {
            self.0.store(0, Ordering::Relaxed);
        }
    }

    fn is_after(&self, now: Duration) -> bool {
        let until = self.0.load(Ordering::Relaxed);
        until != 0 && now.as_millis() < u128::from(until)
    }
}

/// The candidates for a model, best first: at most `num_retries + 1` of its own group, then as many
/// of each fallback group. With a keeper, which holds what the request goes on from, there is no other.
pub fn plan(
    name: &str,
    found: &Match,
    models: &Models,
    routing: &Routing,
    ward: &Ward,
    keeper: Option<&str>,
) -> Vec<Candidate> {
    let tries = usize::try_from(routing.num_retries).unwrap_or(usize::MAX).saturating_add(1);
    let mut candidates = of_group(found, ward, tries, false, keeper);
    let listed = routing
        .fallbacks
        .get(name)
        .or_else(|| routing.fallbacks.get(&found.group.name))
        .or_else(|| routing.fallbacks.get("*"))
        .unwrap_or(&routing.default_fallbacks);
    for name in listed {
        if let Some(next) = models.find(name)
            && next.group.name != found.group.name
        {
            candidates.extend(of_group(&next, ward, tries, true, keeper));
        }
    }
    candidates
}

fn of_group(
    found: &Match,
    ward: &Ward,
    tries: usize,
    is_fallback: bool,
    keeper: Option<&str>,
) -> Vec<Candidate> {
    let captured: Vec<&str> = found.captured.iter().map(String::as_str).collect();
    let candidate = |deployment: &Arc<Deployment>| Candidate {
        deployment: deployment.clone(),
        model: deployment.model.fill(&captured),
        is_fallback,
    };
    let deployments = &found.group.deployments;
    if let Some(keeper) = keeper {
        return deployments.iter().filter(|one| one.id == keeper).map(candidate).collect();
    }
    if let [only] = deployments.as_slice() {
        return vec![candidate(only)];
    }
    let mut order: Vec<_> = deployments
        .iter()
        .map(|deployment| {
            let cooling = ward.get(&deployment.id).is_some_and(|health| health.is_cooling());
            // Efraimidis and Spirakis: sorting by u^(1/w) is a weighted shuffle.
            let die = fastrand::f64().powf(1.0 / deployment.weight.max(f64::MIN_POSITIVE));
            (cooling, deployment.order, -die, deployment)
        })
        .collect();
    order.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)).then_with(|| a.2.total_cmp(&b.2)));
    order.into_iter().take(tries).map(|(.., deployment)| candidate(deployment)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::snapshot::Group;

    fn deployment(id: &str, weight: f64, order: i64) -> Arc<Deployment> {
        Arc::new(Deployment {
            id: id.into(),
            weight,
            order,
            ..Deployment::sample("openai/m-*", "http://127.0.0.1:1/v1")
        })
    }

    fn group(name: &str, deployments: Vec<Arc<Deployment>>) -> Match {
        let group = Arc::new(Group { name: name.into(), deployments });
        Match { group, captured: vec!["x".into()] }
    }

    fn routing() -> Routing {
        Routing {
            num_retries: 2,
            cooldown: Duration::from_secs(5),
            timeout: Duration::from_secs(600),
            stream_timeout: Duration::from_secs(600),
            stream_idle_timeout: Duration::from_secs(300),
            fallbacks: Default::default(),
            default_fallbacks: Vec::new(),
        }
    }

    fn ids(candidates: &[Candidate]) -> Vec<&str> {
        candidates.iter().map(|candidate| candidate.deployment.id.as_str()).collect()
    }

    #[test]
    fn weights_are_shares_and_orders_are_ranks() {
        let found = group(
            "g",
            vec![deployment("a", 3.0, 1), deployment("b", 1.0, 1), deployment("c", 99.0, 2)],
        );
        let mut first_a = 0;
        for _ in 0..4_000 {
            let candidates = of_group(&found, &Ward::new(), 3, false, None);
            assert_eq!(candidates[2].deployment.id, "c");
            assert_eq!(candidates[0].model, "m-x");
            first_a += usize::from(candidates[0].deployment.id == "a");
        }
        assert!((2_800..3_200).contains(&first_a), "{first_a}");
    }

    #[test]
    fn a_cooling_deployment_comes_last_but_is_never_left_out() {
        let found = group("g", vec![deployment("a", 1.0, 0), deployment("b", 1.0, 0)]);
        let ward = Ward::from([("a".to_owned(), Arc::new(Health::default()))]);
        ward["a"].cool_down(Duration::from_secs(60));
        assert_eq!(ids(&of_group(&found, &ward, 3, false, None)), ["b", "a"]);
        ward["a"].recover();
        assert!(!ward["a"].is_cooling());
        let alone = group("g", vec![deployment("a", 1.0, 0)]);
        ward["a"].cool_down(Duration::from_secs(60));
        assert_eq!(ids(&of_group(&alone, &ward, 3, false, None)), ["a"]);
    }

    #[test]
    fn a_keeper_is_found_however_many_others_there_are() {
        let ids: Vec<String> = (0..50).map(|number| format!("d{number}")).collect();
        let found = group("g", ids.iter().map(|id| deployment(id, 1.0, 0)).collect());
        for id in &ids {
            let candidates = of_group(&found, &Ward::new(), 3, false, Some(id));
            assert_eq!(super::tests::ids(&candidates), [id.as_str()]);
        }
        assert!(of_group(&found, &Ward::new(), 3, false, Some("gone")).is_empty());
    }

    #[test]
    fn what_is_remembered_of_a_server_passes() {
        let health = Health::default();
        assert!(!health.is_chat_only());
        health.remember_chat_only();
        assert!(health.is_chat_only() && !health.is_cooling());
        let until = Until::default();
        until.set(Duration::from_millis(5));
        assert!(until.is_after(Duration::from_millis(4)));
        assert!(!until.is_after(Duration::from_millis(5)));
    }

    #[test]
    fn fallbacks_follow_in_order() {
        let mut models = Models::default();
        for name in ["g", "h", "i"] {
            let found = group(name, vec![deployment(name, 1.0, 0)]);
            models.groups.insert(name.into(), found.group);
        }
        let mut routing = routing();
        routing
            .fallbacks
            .insert("g".into(), vec!["i".into(), "g".into(), "gone".into(), "h".into()]);
        routing.default_fallbacks = vec!["g".into()];
        let plan = |name: &str| {
            let found = models.find(name).expect("there");
            let candidates = super::plan(name, &found, &models, &routing, &Ward::new(), None);
            ids(&candidates).into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(plan("g"), ["g", "i", "h"]);
        assert_eq!(plan("h"), ["h", "g"]);
    }
}
