"""Speed at fleet size: Nova's playbooks against those of bench/baseline, on lab hosts."""
