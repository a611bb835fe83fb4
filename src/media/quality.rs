//! What a conversation is worth: the E-model (ITU-T G.107), simplified as the web phone has it, so that both sides of a call
//! are judged alike.

use std::time::Duration;

/// Mean opinion score, 1 to 4.5. `delay` is from mouth to ear, `loss` 0 to 1.
///
/// ```text
/// R   = 93.2 - Id - Ie       Id = 0.024 d + 0.11 (d - 177.3) H(d - 177.3), d in ms       Ie = 95 P / (P + 10), P in per cent
/// MOS = 1 + 0.035 R + R (R - 60) (100 - R) 7e-6                                                         (G.107, annex B)
/// ```
pub fn mos(delay: Duration, loss: f32) -> f32 {
    of_rating(rating(delay, loss))
}

/// The rating that it is made of, 0 to 100.
pub fn rating(delay: Duration, loss: f32) -> f32 {
    let delay_ms = delay.as_secs_f32() * 1000.0;
    let loss = if loss.is_finite() { loss.clamp(0.0, 1.0) } else { 1.0 };
    let of_delay = 0.024 * delay_ms + 0.11 * (delay_ms - 177.3).max(0.0);
    let of_loss = 95.0 * loss / (loss + 0.1);
    (93.2 - of_delay - of_loss).clamp(0.0, 100.0)
}

/// The same of a rating, 0 to 100.
pub fn of_rating(rating: f32) -> f32 {
    let rating = rating.clamp(0.0, 100.0);
    (1.0 + 0.035 * rating + rating * (rating - 60.0) * (100.0 - rating) * 7e-6).max(1.0)
}

/// From mouth to ear: half the round trip, what a receiver holds back against jitter, and encoding and playing.
pub fn mouth_to_ear(rtt: Duration, jitter: Duration) -> Duration {
    rtt / 2 + HELD_BACK_MIN.max(jitter.saturating_mul(2)) + DEVICE
}

/// What a receiver holds back at least.
const HELD_BACK_MIN: Duration = Duration::from_millis(40);
/// A frame is 20 ms long before it is sent, and devices take about as long.
const DEVICE: Duration = Duration::from_millis(40);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_those_of_the_model() {
        // G.107 annex B: a rating of 93.2 is 4.41, 50 is 2.58.
        assert!((mos(Duration::ZERO, 0.0) - 4.41).abs() < 0.01);
        let half = 43.2 / 95.0 * 0.1 / (1.0 - 43.2 / 95.0);
        assert!((mos(Duration::ZERO, half) - 2.58).abs() < 0.01);
        assert!((mos(Duration::from_secs(20), 0.0) - 1.0).abs() < f32::EPSILON);
        assert!((mos(Duration::MAX, f32::NAN) - 1.0).abs() < f32::EPSILON);
    }

    #[test]
    fn delay_is_of_the_way_the_buffer_and_the_devices() {
        let ms = Duration::from_millis;
        assert_eq!(mouth_to_ear(ms(60), ms(5)), ms(30 + 40 + 40));
        assert_eq!(mouth_to_ear(ms(60), ms(50)), ms(30 + 100 + 40));
        let (near, far) = (
            mos(mouth_to_ear(ms(20), ms(1)), 0.01),
            mos(mouth_to_ear(ms(600), ms(1)), 0.01),
        );
        assert!(near > 3.9 && far < near - 0.5, "{near} {far}");
    }
}
