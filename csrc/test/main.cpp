// main.cpp — the stand-alone test runner: every kernel on every level against plain float64 loops, and the threads.
//
//   tapwise_test [--isa NAME] [--only SUBJECT] [--cases N] [--forks N]
//
// Needs neither Python nor a framework, so that sanitizers and emulators can run it. qemu-user and gcc's
// ThreadSanitizer fail when a process that has threads forks: --forks 0. Exit code 0 if nothing failed.
#include <cstdio>
#include <cstdlib>

#include "check.h"

namespace tapwise::test {
namespace {

struct Subject {
  const char* name;
  void (*test)(const Options&);
};
constexpr Subject kSubjects[] = {{"threads", test_threads},     {"conv", test_conv},
                                 {"separable", test_separable}, {"low_precision", test_low_precision},
                                 {"pool", test_pool},           {"nn", test_nn},
                                 {"norm", test_norm},           {"group_norm", test_group_norm},
                                 {"optim", test_optim}};

bool is_subject(const std::string& name) {
  for (const Subject& subject : kSubjects)
    if (name == subject.name) return true;
  return false;
}

// False if the command line isn't understood.
bool parse(int count, char** arguments, Options& options) {
  for (int i = 1; i < count; i += 2) {
    const std::string name = arguments[i];
    const char* value = i + 1 < count ? arguments[i + 1] : "";
    if (name == "--isa" && set_isa(value)) {
      options.isa = value;
    } else if (name == "--only" && is_subject(value)) {
      options.only = value;
    } else if ((name == "--cases" || name == "--forks") && *value) {
      char* end;
      Index& number = name == "--cases" ? options.cases : options.forks;
      number = std::strtoll(value, &end, 10);
      if (*end || number < 0) return false;
    } else {
      return false;
    }
  }
  return true;
}

int usage(const char* program) {
  std::fprintf(stderr, "usage: %s [--isa NAME] [--only SUBJECT] [--cases N] [--forks N]\nNAME:", program);
  for (int i = 0; i < isa_count(); ++i) std::fprintf(stderr, " %s", isa_at(i).isa);
  std::fprintf(stderr, "\nSUBJECT:");
  for (const Subject& subject : kSubjects) std::fprintf(stderr, " %s", subject.name);
  std::fprintf(stderr, "\n");
  return 2;
}

}  // namespace
}  // namespace tapwise::test

int main(int count, char** arguments) {
  using namespace tapwise::test;
  Options options;
  if (!parse(count, arguments, options)) return usage(arguments[0]);
  for (const Subject& subject : kSubjects)
    if (options.only.empty() || options.only == subject.name) subject.test(options);
  return report(options);
}
