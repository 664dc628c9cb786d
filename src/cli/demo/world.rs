//! Who calls whom in the demo: four providers, twelve models with prices, twenty organisations.

/// A model that can be called.
#[derive(Debug, PartialEq)]
pub struct Model {
    /// Whose API.
    pub provider: &'static str,
    /// As the API names it.
    pub name: &'static str,
    /// Share of all calls; the shares add up to 1.
    pub share: f64,
    /// USD for a million tokens in, out.
    pub prices: (f64, f64),
    /// Median latency of a usual call.
    pub latency_ms: f64,
}

/// Median tokens (in, out) of a call that generates text.
pub const TEXT_TOKENS: (f64, f64) = (600.0, 220.0);
/// Median tokens in of an embedding; nothing comes out.
pub const EMBEDDING_TOKENS: f64 = 400.0;
/// Sigma of the logarithm of tokens and latencies.
pub const SPREAD: f64 = 0.7;

const fn model(provider: &'static str, name: &'static str, share: f64, prices: (f64, f64), latency_ms: f64) -> Model {
    Model { provider, name, share, prices, latency_ms }
}

/// The models.
pub const MODELS: [Model; 12] = [
    model("openai", "gpt-4o", 0.200, (2.5, 10.0), 1_400.0),
    model("openai", "gpt-4o-mini", 0.180, (0.15, 0.6), 800.0),
    model("openai", "o3-mini", 0.020, (1.1, 4.4), 3_000.0),
    model("openai", "text-embedding-3-small", 0.120, (0.02, 0.0), 120.0),
    model("anthropic", "claude-3-5-sonnet-20241022", 0.130, (3.0, 15.0), 1_900.0),
    model("anthropic", "claude-3-5-haiku-20241022", 0.090, (0.8, 4.0), 900.0),
    model("anthropic", "claude-3-opus-20240229", 0.015, (15.0, 75.0), 3_500.0),
    model("aws.bedrock", "anthropic.claude-3-5-sonnet-20241022-v2:0", 0.080, (3.0, 15.0), 2_200.0),
    model("aws.bedrock", "amazon.nova-pro-v1:0", 0.050, (0.6, 2.4), 1_200.0),
    model("aws.bedrock", "amazon.titan-embed-text-v2:0", 0.040, (0.02, 0.0), 150.0),
    model("google", "gemini-1.5-pro", 0.020, (1.25, 5.0), 1_800.0),
    model("google", "gemini-1.5-flash", 0.055, (0.075, 0.3), 600.0),
];

/// Models with enough traffic for an error spike within seconds.
pub const BUSY: [&str; 3] = ["gpt-4o", "claude-3-5-sonnet-20241022", "gpt-4o-mini"];
/// Models with so little traffic that failing in a row is no spike.
pub const QUIET: [&str; 2] = ["o3-mini", "gemini-1.5-pro"];
/// The model with a context long enough for the one large call that stands for three minutes of a past day.
pub const LONG_CONTEXT: &str = "gemini-1.5-pro";
/// The model that the organisation of a cost jump sends whole archives to.
pub const EXPENSIVE: &str = "claude-3-5-sonnet-20241022";

/// The organisations, the largest first.
pub const ORGS: [&str; 20] = [
    "Northwind",
    "Contoso",
    "Globex",
    "Initech",
    "Umbrella",
    "Hooli",
    "Stark",
    "Wayne",
    "Acme",
    "Cyberdyne",
    "Tyrell",
    "Wonka",
    "Soylent",
    "Vandelay",
    "Pied Piper",
    "Gringotts",
    "Oscorp",
    "Aperture",
    "Black Mesa",
    "Massive Dynamic",
];

impl Model {
    /// Whether it embeds rather than writes.
    pub fn embeds(&self) -> bool {
        self.name.contains("embed")
    }

    /// USD of a call.
    pub fn cost_usd(&self, prompt_tokens: i64, completion_tokens: i64) -> f64 {
        let exact = (prompt_tokens as f64 * self.prices.0 + completion_tokens as f64 * self.prices.1) / 1e6;
        (exact * 1e6).round() / 1e6
    }

    /// USD of an average call: the mean of a log-normal is its median times e^(sigma^2 / 2).
    fn mean_cost_usd(&self) -> f64 {
        let (prompt, completion) = if self.embeds() { (EMBEDDING_TOKENS, 0.0) } else { TEXT_TOKENS };
        (prompt * self.prices.0 + completion * self.prices.1) / 1e6 * (SPREAD * SPREAD / 2.0).exp()
    }
}

/// The model of that name; the first one of all where there is none.
pub fn model_named(name: &str) -> &'static Model {
    MODELS.iter().find(|model| model.name == name).unwrap_or(&MODELS[0])
}

/// Share of the calls that the organisation at this place of the list makes; the shares add up to 1.
pub fn org_share(place: usize) -> f64 {
    let weight = |place: usize| 1.0 / (place as f64 + 4.0);
    weight(place) / (0..ORGS.len()).map(weight).sum::<f64>()
}

/// USD of an average call over all models.
pub fn mean_call_usd() -> f64 {
    MODELS.iter().map(|model| model.share * model.mean_cost_usd()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up() {
        assert!((MODELS.iter().map(|m| m.share).sum::<f64>() - 1.0).abs() < 1e-9);
        assert!(((0..ORGS.len()).map(org_share).sum::<f64>() - 1.0).abs() < 1e-9);
        let providers: std::collections::BTreeSet<_> = MODELS.iter().map(|m| m.provider).collect();
        assert_eq!(providers.len(), 4);
    }

    #[test]
    fn every_named_model_exists() {
        for name in BUSY.iter().chain(&QUIET).chain([&LONG_CONTEXT, &EXPENSIVE]) {
            assert_eq!(model_named(name).name, *name);
        }
    }
}
