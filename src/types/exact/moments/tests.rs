use proptest::prelude::*;

use super::*;

fn whole(values: &[i128]) -> WholeMoments {
    let mut moments = WholeMoments::default();
    values.iter().for_each(|v| moments.add(*v, 1));
    moments
}

/// Values of `scale` decimals → text with 20 decimals, zeros cut.
fn check(values: &[i128], scale: u32, statistic: Statistic, expect: &str) {
    let value = whole(values).value(statistic, scale, false, 20).unwrap().unwrap();
    let text = format!("{value:021}");
    let (integer, decimals) = text.split_at(text.len() - 20);
    let text = format!("{integer}.{decimals}");
    assert_eq!(text.trim_end_matches('0').trim_end_matches('.'), expect);
}

#[test]
fn whole_numbers_give_the_digits_of_postgres() {
    use Statistic::*;
    // Expected values as PostgreSQL 15 gives them, without trailing zeros.
    check(&[1, 2, 3, 4, 5], 0, StddevSamp, "1.5811388300841897");
    check(&[1, 2, 3, 4, 5], 0, VarSamp, "2.5");
    check(&[1, 2], 0, StddevPop, "0.5");
    check(&[1, 2, 4], 0, VarPop, "1.5555555555555556");
    check(&[1, 2, 4], 0, StddevPop, "1.2472191289246471");
    check(&[150, 250, 1000], 2, VarSamp, "21.5833333333333333");
    check(&[7, 7, 7], 0, StddevSamp, "0");
    assert_eq!(whole(&[7]).value(VarSamp, 0, false, 20).unwrap(), None);
    assert_eq!(whole(&[7]).value(VarPop, 0, false, 20).unwrap(), Some(0));
    assert!(whole(&[10i128.pow(35), 0]).value(VarPop, 0, false, 20).is_err());
}

#[test]
fn floats_are_rounded_once() {
    use Statistic::*;
    let mut moments = FloatMoments::default();
    for x in [1e9 + 4.0, 1e9 + 7.0, 1e9 + 13.0, 1e9 + 16.0] {
        moments.add(x, 1);
    }
    assert_eq!(moments.value(VarSamp).unwrap(), Some(30.0));
    moments.add(f64::NAN, 1);
    assert!(moments.value(VarSamp).unwrap().unwrap().is_nan());
    moments.add(f64::NAN, -1);
    assert_eq!(moments.value(StddevPop).unwrap(), Some(22.5f64.sqrt()));
    let mut huge = FloatMoments::default();
    huge.add(1e200, 3);
    assert_eq!(huge.value(VarPop).unwrap(), Some(0.0));
    huge.add(-1e200, 1);
    assert!(huge.value(VarPop).is_err());
    assert!(huge.value(StddevPop).is_err());
}

#[test]
fn regression_of_a_line() {
    use Statistic::*;
    let mut moments = FloatMoments::default();
    for x in [1.0, 2.0, 4.0] {
        moments.add_pair(3.0 * x - 1.0, x, 1);
    }
    let value = |s| moments.value(s).unwrap().unwrap();
    assert_eq!(value(RegrCount), 3.0);
    assert_eq!(value(RegrSlope), 3.0);
    assert_eq!(value(RegrIntercept), -1.0);
    assert_eq!(value(RegrR2), 1.0);
    assert!((value(Corr) - 1.0).abs() < 1e-15);
    assert_eq!(value(RegrAvgy), 6.0);
    assert!((value(CovarPop) - 14.0 / 3.0).abs() < 1e-15);
    assert_eq!(value(CovarSamp), 7.0);
    let mut one = FloatMoments::default();
    one.add_pair(1.0, 1.0, 1);
    assert_eq!(one.value(Corr).unwrap(), None);
    assert_eq!(one.value(RegrSlope).unwrap(), None);
}

proptest! {
    #[test]
    fn removal_leaves_nothing(kept in prop::collection::vec(-1e12..1e12f64, 2..8), gone in prop::collection::vec(-1e30..1e30f64, 0..8)) {
        let mut plain = FloatMoments::default();
        let mut used = FloatMoments::default();
        gone.iter().for_each(|v| used.add(*v, 1));
        kept.iter().for_each(|v| { plain.add(*v, 1); used.add(*v, 1); });
        gone.iter().rev().for_each(|v| used.add(*v, -1));
        let mut bytes = Vec::new();
        used.write(&mut bytes);
        let read = FloatMoments::read(&mut bytes.as_slice()).unwrap();
        for statistic in [Statistic::VarPop, Statistic::StddevSamp] {
            let expect = plain.value(statistic).unwrap().map(f64::to_bits);
            prop_assert_eq!(used.value(statistic).unwrap().map(f64::to_bits), expect);
            prop_assert_eq!(read.value(statistic).unwrap().map(f64::to_bits), expect);
        }
    }

    #[test]
    fn roots_are_the_largest(value in 1i128..i128::MAX) {
        let value = i256::from_i128(value).wrapping_mul(i256::from_i128(1 << 40));
        let root = square_root(value);
        let next = root.wrapping_add(i256::ONE);
        prop_assert!(root.wrapping_mul(root) <= value && next.wrapping_mul(next) > value);
    }
}
