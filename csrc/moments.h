// moments.h — mean and variance of a channel or a row from its sums, for the normalizations.
#pragma once

#include <cmath>

#include "shape.h"

namespace tapwise {

struct Moments {
  float mean, variance;
};

// From the sums of x - x0 and of (x - x0)^2.
inline Moments moments(double first, double second, double count, float x0) {
  const double from_first = first / count, variance = second / count - from_first * from_first;
  return {static_cast<float>(x0 + from_first), static_cast<float>(variance < 0 ? 0 : variance)};
}

inline double inverse_deviation(float variance, double epsilon) {
  return 1.0 / std::sqrt(static_cast<double>(variance) + epsilon);
}

}  // namespace tapwise
