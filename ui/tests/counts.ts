// The closing line that tools/test.sh reads.
import type { Reporter, TestCase, TestResult } from '@playwright/test/reporter';

export default class Counts implements Reporter {
  private passed = 0;
  private failed = 0;

  onTestEnd(test: TestCase, result: TestResult) {
    if (result.status === 'passed') this.passed += 1;
    else if (result.status !== 'skipped') {
      this.failed += 1;
      console.log(`FAIL ${test.title}`);
    }
  }

  onEnd() {
    console.log(`${this.passed} passed, ${this.failed} failed`);
  }
}
