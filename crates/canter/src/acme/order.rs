//! Owns one order at an authority, from asking to the certificate with its key, by `http-01`
//! (RFC 8555, sections 7.4 and 8.3).
//! Leaves when to ask, and where the result goes, to `acme`.

use std::time::Duration;

use canter_front::Challenges;
use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, ChallengeType, Error, Identifier,
    NewOrder, Order, OrderStatus, RetryPolicy,
};

use super::client::Wish;

/// How long the authority may take to check a name, and then to sign.
const PATIENCE: Duration = Duration::from_secs(120);

/// What an authority says that was asked too often (RFC 8555, section 6.7).
const RATE_LIMITED: &str = "urn:ietf:params:acme:error:rateLimited";

/// Gets a certificate for this name: chain and key in PEM form, one behind the other.
///
/// # Errors
/// What the authority says, as a sentence.
pub(super) async fn run(
    account: &Account,
    name: &str,
    replaced: Option<CertificateIdentifier<'_>>,
    challenges: &Challenges,
    wish: &Wish,
) -> Result<String, String> {
    let identifiers = [Identifier::Dns(name.to_owned())];
    let order = begin(account, &identifiers, replaced, wish).await;
    let mut order = order.map_err(said)?;
    let mut answers = Answers {
        challenges,
        tokens: Vec::new(),
    };
    prove(&mut order, &mut answers).await?;
    let retries = RetryPolicy::new().timeout(PATIENCE);
    match order.poll_ready(&retries).await.map_err(said)? {
        OrderStatus::Ready => {}
        _ => return Err(refused(&mut order).await),
    }
    let key = order.finalize().await.map_err(said)?;
    let chain = order.poll_certificate(&retries).await.map_err(said)?;
    Ok(format!("{}\n{key}", chain.trim_end()))
}

async fn begin(
    account: &Account,
    identifiers: &[Identifier],
    replaced: Option<CertificateIdentifier<'_>>,
    wish: &Wish,
) -> Result<Order, Error> {
    if let Some(replaced) = replaced {
        let new = NewOrder::new(identifiers).replaces(replaced);
        // An authority that does not know the old one, or has renewed it already, may refuse
        // (RFC 9773, section 5).
        match account.new_order(&new).await {
            Ok(order) => return Ok(order),
            // Whoever is asked too often, or is away for a while, is not asked once more.
            Err(error) if wish.is_for_quiet() || is_rate_limit(&error) => return Err(error),
            Err(_) => {}
        }
    }
    account.new_order(&NewOrder::new(identifiers)).await
}

fn is_rate_limit(error: &Error) -> bool {
    matches!(error, Error::Api(problem) if problem.r#type.as_deref() == Some(RATE_LIMITED))
}

/// Answers what the authority asks at port 80.
async fn prove(order: &mut Order, answers: &mut Answers<'_>) -> Result<(), String> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(said)?;
        match authorization.status {
            AuthorizationStatus::Pending => {}
            AuthorizationStatus::Valid => continue,
            _ => return Err("the authority does not accept that the name is ours".to_owned()),
        }
        let mut challenge = authorization
            .challenge(ChallengeType::Http01)
            .ok_or("the authority does not offer `http-01`")?;
        answers.give(
            challenge.token.clone(),
            challenge.key_authorization().as_str().to_owned(),
        );
        challenge.set_ready().await.map_err(said)?;
    }
    Ok(())
}

/// Why an order came to nothing: the reason stands with the challenge.
async fn refused(order: &mut Order) -> String {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let Ok(state) = authorization.refresh().await else {
            continue;
        };
        let mut challenges = state.challenges.iter();
        if let Some(problem) = challenges.find_map(|challenge| challenge.error.as_ref()) {
            return problem.to_string();
        }
    }
    "the authority could not see that the name is ours".to_owned()
}

#[expect(clippy::needless_pass_by_value, reason = "as `map_err` gives it")]
fn said(error: Error) -> String {
    error.to_string()
}

/// Answers at `/.well-known/acme-challenge/`, taken back on drop.
struct Answers<'a> {
    challenges: &'a Challenges,
    tokens: Vec<String>,
}

impl Answers<'_> {
    fn give(&mut self, token: String, answer: String) {
        self.challenges.set(token.clone(), answer);
        self.tokens.push(token);
    }
}

impl Drop for Answers<'_> {
    fn drop(&mut self) {
        for token in &self.tokens {
            self.challenges.clear(token);
        }
    }
}
